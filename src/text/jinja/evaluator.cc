// The expression half of the evaluator.
#include "text/jinja/evaluator.h"

#include "text/jinja/filters.h"
#include "text/jinja/globals.h"
#include "text/jinja/lexer.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/predicates.h"
#include "text/jinja/text_form.h"

namespace hadal::jinja {

Value* Scope::FindHere(std::string_view name) {
  for (auto& [key, value] : variables)
    if (key == name) return &value;
  return nullptr;
}

const Value* Scope::Find(std::string_view name) {
  for (Scope* scope = this; scope; scope = scope->parent.get())
    if (const Value* value = scope->FindHere(name)) return value;
  return nullptr;
}

void Evaluator::AddPlace(uint32_t offset, Error& error) {
  if (!failed_) error.message = PlaceOf(parsed_.source, offset) + ": " + error.message;
  failed_ = true;
}

Result<Value> Evaluator::Eval(const Expr& expr, const ScopePtr& scope) {
  Runtime::Level level(runtime_);
  if (level.too_deep())
    return At<Value>(expr.offset,
                     ResourceExhausted("evaluation is nested deeper than {} levels; does a macro call "
                                       "itself without end?",
                                       runtime_.limits().depth));
  RETURN_IF_ERROR(At(expr.offset, runtime_.Spend(1)));
  Result<Value> value = EvalByKind(expr, scope);
  // Whatever is done with a text takes time by its length, and every operand passes here.
  if (value && value->is_string()) RETURN_IF_ERROR(At(expr.offset, runtime_.SpendText(value->as_string().size())));
  return value;
}

Result<Value> Evaluator::EvalByKind(const Expr& expr, const ScopePtr& scope) {
  switch (expr.kind) {
    case ExprKind::kConst: return expr.value;
    case ExprKind::kName: return EvalName(expr, scope);
    case ExprKind::kList:
    case ExprKind::kTuple:
    case ExprKind::kDict: return EvalLiteral(expr, scope);
    case ExprKind::kAttribute:
    case ExprKind::kItem:
    case ExprKind::kSlice: return EvalAccess(expr, scope);
    case ExprKind::kCall: return EvalCall(expr, scope);
    case ExprKind::kFilter: return EvalFilter(expr, scope, nullptr);
    case ExprKind::kTest: return EvalTest(expr, scope);
    case ExprKind::kNot:
    case ExprKind::kAnd:
    case ExprKind::kOr:
    case ExprKind::kConditional: return EvalLogic(expr, scope);
    case ExprKind::kNegative:
    case ExprKind::kPositive:
    case ExprKind::kBinary: return EvalOperator(expr, scope);
    case ExprKind::kConcat: return EvalConcat(expr, scope);
    case ExprKind::kCompare: return EvalCompare(expr, scope);
  }
  return Internal("an expression of unknown kind");
}

Result<Value> Evaluator::EvalName(const Expr& expr, const ScopePtr& scope) {
  if (const Value* local = scope->Find(expr.name)) return *local;
  if (const Value* given = variables_.as_dict().Find(expr.name)) return *given;
  ASSIGN_OR_RETURN(auto global, At(expr.offset, FindGlobal(runtime_, expr.name)));
  if (global) return *std::move(global);
  return Value::Undefined(fmt::format("'{}' is undefined", expr.name));
}

Result<Value> Evaluator::EvalLiteral(const Expr& expr, const ScopePtr& scope) {
  std::vector<Value> items;
  items.reserve(expr.children.size());
  for (const ExprPtr& child : expr.children) {
    ASSIGN_OR_RETURN(Value item, Eval(*child, scope));
    items.push_back(std::move(item));
  }
  if (expr.kind == ExprKind::kList) return At(expr.offset, runtime_.List(std::move(items)));
  if (expr.kind == ExprKind::kTuple)
    return At(expr.offset, runtime_.List(std::move(items), SequenceKind::kTuple));
  Dict dict;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (!Dict::Hashable(items[i]))
      return At<Value>(expr.offset, InvalidArgument("a {} cannot be a key of a dict", items[i].type_name()));
    dict.Set(std::move(items[i]), std::move(items[i + 1]));
  }
  return At(expr.offset, runtime_.Make(std::move(dict)));
}

Result<Value> Evaluator::EvalAccess(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value object, Eval(*expr.children[0], scope));
  if (expr.kind == ExprKind::kAttribute) return At(expr.offset, GetAttribute(runtime_, object, expr.name));
  if (expr.kind == ExprKind::kItem) {
    ASSIGN_OR_RETURN(const Value key, Eval(*expr.children[1], scope));
    return At(expr.offset, GetItem(runtime_, object, key));
  }
  Value bounds[3];
  const Value* given[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (!expr.children[i + 1]) continue;
    ASSIGN_OR_RETURN(bounds[i], Eval(*expr.children[i + 1], scope));
    given[i] = &bounds[i];
  }
  return At(expr.offset, Slice(runtime_, object, given[0], given[1], given[2]));
}

Result<Value> Evaluator::EvalLogic(const Expr& expr, const ScopePtr& scope) {
  if (expr.kind == ExprKind::kConditional) {
    ASSIGN_OR_RETURN(const Value condition, Eval(*expr.children[1], scope));
    if (condition.truth()) return Eval(*expr.children[0], scope);
    if (expr.children[2]) return Eval(*expr.children[2], scope);
    return Value::Undefined("the condition of an 'if' without 'else' is false");
  }
  ASSIGN_OR_RETURN(Value left, Eval(*expr.children[0], scope));
  if (expr.kind == ExprKind::kNot) return Value::Bool(!left.truth());
  const bool decided = left.truth() == (expr.kind == ExprKind::kOr);
  return decided ? Result<Value>(std::move(left)) : Eval(*expr.children[1], scope);
}

Result<Value> Evaluator::EvalOperator(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value left, Eval(*expr.children[0], scope));
  if (expr.kind == ExprKind::kNegative) return At(expr.offset, Negative(left));
  if (expr.kind == ExprKind::kPositive) {
    if (auto i = left.integer()) return Value::Int(*i);
    if (left.is_number()) return left;
    return At<Value>(expr.offset, left.is_undefined() ? InvalidArgument("{}", left.why())
                                                      : InvalidArgument("unary '+' is not defined for a {}",
                                                                        left.type_name()));
  }
  ASSIGN_OR_RETURN(const Value right, Eval(*expr.children[1], scope));
  return At(expr.offset, Binary(runtime_, expr.name, left, right));
}

Result<Value> Evaluator::EvalConcat(const Expr& expr, const ScopePtr& scope) {
  std::string out;
  for (const ExprPtr& child : expr.children) {
    ASSIGN_OR_RETURN(const Value part, Eval(*child, scope));
    ASSIGN_OR_RETURN(const std::string text, At(child->offset, Str(runtime_, part)));
    RETURN_IF_ERROR(At(expr.offset, runtime_.MayHold(out.size() + text.size())));
    out += text;
  }
  return At(expr.offset, runtime_.String(std::move(out)));
}

Result<Value> Evaluator::EvalCompare(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value left, Eval(*expr.children[0], scope));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    ASSIGN_OR_RETURN(Value right, Eval(*expr.children[i + 1], scope));
    ASSIGN_OR_RETURN(const bool holds, At(expr.offset, Compare(runtime_, expr.operators[i], left, right)));
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Result<Arguments> Evaluator::EvalArguments(const Expr& expr, const ScopePtr& scope) {
  Arguments arguments;
  for (size_t i = 1; i < expr.children.size(); ++i) {
    ASSIGN_OR_RETURN(Value value, Eval(*expr.children[i], scope));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, child] : expr.named) {
    ASSIGN_OR_RETURN(Value value, Eval(*child, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  return arguments;
}

Result<Value> Evaluator::EvalCall(const Expr& expr, const ScopePtr& scope) {
  const Expr& callee = *expr.children[0];
  Value function;
  if (callee.kind == ExprKind::kAttribute) {  // a method, without making it a value first
    ASSIGN_OR_RETURN(const Value object, Eval(*callee.children[0], scope));
    if (object.is_undefined()) return At<Value>(callee.offset, InvalidArgument("{}", object.why()));
    ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr, scope));
    ASSIGN_OR_RETURN(auto result, At(callee.offset, CallMethod(runtime_, object, callee.name, arguments)));
    if (result) return *std::move(result);
    ASSIGN_OR_RETURN(function, At(callee.offset, GetAttribute(runtime_, object, callee.name)));
    if (function.is(Kind::kObject)) return At(expr.offset, function.as_object()->Call(runtime_, arguments));
  } else {
    ASSIGN_OR_RETURN(function, Eval(callee, scope));
    if (function.is(Kind::kObject)) {
      ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr, scope));
      return At(expr.offset, function.as_object()->Call(runtime_, arguments));
    }
  }
  if (function.is_undefined()) return At<Value>(callee.offset, InvalidArgument("{}", function.why()));
  return At<Value>(callee.offset, InvalidArgument("a {} cannot be called", function.type_name()));
}

Result<Value> Evaluator::EvalFilter(const Expr& expr, const ScopePtr& scope, const Value* block) {
  Runtime::Level level(runtime_);
  Value input;
  if (!expr.children[0]) {
    input = *block;
  } else if (block && expr.children[0]->kind == ExprKind::kFilter) {
    ASSIGN_OR_RETURN(input, EvalFilter(*expr.children[0], scope, block));
  } else {
    ASSIGN_OR_RETURN(input, Eval(*expr.children[0], scope));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr, scope));
  return At(expr.offset,
            FindFilter(expr.name)->function(runtime_, input, arguments));  // the parser found it too
}

Result<Value> Evaluator::EvalTest(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value subject, Eval(*expr.children[0], scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr, scope));
  ASSIGN_OR_RETURN(const bool holds,
                   At(expr.offset, FindPredicate(expr.name)->function(runtime_, subject, arguments)));
  return Value::Bool(holds);
}

}  // namespace hadal::jinja
