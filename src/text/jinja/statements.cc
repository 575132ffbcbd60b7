// The statement half of the evaluator: output, branches, loops, assignments and macros.
#include <functional>

#include "text/jinja/evaluator.h"
#include "text/jinja/filters.h"
#include "text/jinja/globals.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_form.h"

namespace hadal::jinja {
namespace {

/// The variable `loop`, and the items that pass the loop's condition. They are looked for only as far as the
/// body or an attribute needs them, because the body may change what the condition depends on.
class Loop : public Object {
 public:
  using Condition = std::function<Result<bool>(const Value& item)>;
  Loop(std::vector<Value> source, Condition condition)
      : source_(std::move(source)), condition_(std::move(condition)) {}

  std::string_view type_name() const override { return "LoopContext"; }
  Result<std::optional<Value>> Attribute(Runtime& runtime, std::string_view name) override;

  /// Goes to the next item; false at the end.
  Result<bool> Next() {
    ASSIGN_OR_RETURN(const bool more, Reach(started_ ? at_ + 1 : 0));
    if (!more) return false;
    if (started_) ++at_;
    started_ = true;
    return true;
  }
  const Value& item() const { return items_[at_]; }
  size_t at() const { return at_; }

 private:
  /// Tells whether there is an item number `index`.
  Result<bool> Reach(size_t index) {
    while (items_.size() <= index && next_ < source_.size()) {
      const Value& candidate = source_[next_++];
      if (condition_) {
        ASSIGN_OR_RETURN(const bool passes, condition_(candidate));
        if (!passes) continue;
      }
      items_.push_back(candidate);
    }
    return items_.size() > index;
  }

  std::vector<Value> source_;
  size_t next_ = 0;           // in source_: the first that is not looked at yet
  std::vector<Value> items_;  // those that passed
  size_t at_ = 0;
  bool started_ = false;
  Condition condition_;
};

class LoopCycle : public Object {
 public:
  explicit LoopCycle(const Loop& loop) : loop_(loop) {}
  std::string_view type_name() const override { return "method"; }
  bool callable() const override { return true; }
  Result<Value> Call(Runtime&, const Arguments& arguments) override {
    if (arguments.positional.empty()) return InvalidArgument("loop.cycle() needs values to choose from");
    return arguments.positional[loop_.at() % arguments.positional.size()];
  }

 private:
  const Loop& loop_;
};

Result<std::optional<Value>> Loop::Attribute(Runtime& runtime, std::string_view name) {
  const auto number = [](size_t n) { return Value::Int(static_cast<int64_t>(n)); };
  if (name == "index") return number(at_ + 1);
  if (name == "index0") return number(at_);
  if (name == "first") return Value::Bool(at_ == 0);
  if (name == "previtem") return at_ > 0 ? items_[at_ - 1] : Value::Undefined("there is no previous item");
  if (name == "last" || name == "nextitem") {
    ASSIGN_OR_RETURN(const bool more, Reach(at_ + 1));
    if (name == "last") return Value::Bool(!more);
    return more ? items_[at_ + 1] : Value::Undefined("there is no next item");
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    RETURN_IF_ERROR(Reach(source_.size()));
    if (name == "length") return number(items_.size());
    return number(items_.size() - at_ - (name == "revindex0" ? 1 : 0));
  }
  if (name == "cycle") {
    ASSIGN_OR_RETURN(LoopCycle * cycle, runtime.Keep(std::make_unique<LoopCycle>(*this)));
    return Value::Of(cycle);
  }
  for (std::string_view outside : {"changed", "depth", "depth0"})
    if (name == outside) return Unsupported("loop.{} is not supported", name);
  return std::nullopt;
}

class Macro : public Object {
 public:
  Macro(Evaluator& evaluator, const Stmt& macro, ScopePtr definition)
      : evaluator_(evaluator), macro_(macro), definition_(std::move(definition)) {}
  std::string_view type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  Result<std::optional<Value>> Attribute(Runtime&, std::string_view name) override {
    if (name == "name") return Value::String(macro_.text);
    return std::nullopt;
  }
  Result<Value> Call(Runtime&, const Arguments& arguments) override {
    return evaluator_.CallMacro(macro_, definition_, arguments);
  }

 private:
  Evaluator& evaluator_;
  const Stmt& macro_;
  ScopePtr definition_;
};

ScopePtr Inside(const ScopePtr& parent) {
  auto scope = std::make_shared<Scope>();
  scope->parent = parent;
  return scope;
}

}  // namespace

Result<std::string> Evaluator::Run() {
  std::string out;
  RETURN_IF_ERROR(Execute(parsed_.body, std::make_shared<Scope>(), out));
  return out;
}

Result<Evaluator::Flow> Evaluator::Execute(const Body& body, const ScopePtr& scope, std::string& out) {
  Runtime::Level level(runtime_);
  for (const Stmt& statement : body) {
    if (level.too_deep())
      return At<Flow>(statement.offset,
                      ResourceExhausted("statements are nested deeper than {} levels; does a macro "
                                        "call itself without end?",
                                        runtime_.limits().depth));
    RETURN_IF_ERROR(At(statement.offset, runtime_.Spend(1)));
    ASSIGN_OR_RETURN(const Flow flow, Execute(statement, scope, out));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::Execute(const Stmt& statement, const ScopePtr& scope, std::string& out) {
  switch (statement.kind) {
    case StmtKind::kIf: return If(statement, scope, out);
    case StmtKind::kFor: return For(statement, scope, out);
    case StmtKind::kScope: return Execute(statement.body, Inside(scope), out);
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
    case StmtKind::kText: RETURN_IF_ERROR(Emit(statement, statement.text, out)); break;
    case StmtKind::kPrint: RETURN_IF_ERROR(Print(statement, scope, out)); break;
    case StmtKind::kMacro: RETURN_IF_ERROR(DefineMacro(statement, scope)); break;
    case StmtKind::kSet: {
      ASSIGN_OR_RETURN(Value value, Eval(*statement.expr, scope));
      RETURN_IF_ERROR(Assign(*statement.target, std::move(value), scope));
      break;
    }
    case StmtKind::kSetBlock: {
      ASSIGN_OR_RETURN(Value value, Captured(statement, scope));
      RETURN_IF_ERROR(Assign(*statement.target, std::move(value), scope));
      break;
    }
    case StmtKind::kFilter: {
      ASSIGN_OR_RETURN(const Value value, Captured(statement, scope));
      ASSIGN_OR_RETURN(const std::string text, At(statement.offset, Str(runtime_, value)));
      RETURN_IF_ERROR(Emit(statement, text, out));
      break;
    }
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::If(const Stmt& statement, const ScopePtr& scope, std::string& out) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition) {
      ASSIGN_OR_RETURN(const Value condition, Eval(*branch.condition, scope));
      if (!condition.truth()) continue;
    }
    return Execute(branch.body, scope, out);
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::For(const Stmt& statement, const ScopePtr& scope, std::string& out) {
  ASSIGN_OR_RETURN(const Value iterable, Eval(*statement.expr, scope));
  ASSIGN_OR_RETURN(std::vector<Value> items, At(statement.expr->offset, Iterate(runtime_, iterable)));
  Loop::Condition condition;
  if (statement.condition) {
    condition = [this, &statement, scope](const Value& item) -> Result<bool> {
      const ScopePtr inner = Inside(scope);
      RETURN_IF_ERROR(Assign(*statement.target, item, inner));
      ASSIGN_OR_RETURN(const Value passes, Eval(*statement.condition, inner));
      return passes.truth();
    };
  }
  ASSIGN_OR_RETURN(
      Loop * loop,
      At(statement.offset, runtime_.Keep(std::make_unique<Loop>(std::move(items), std::move(condition)))));
  bool any = false;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, At(statement.offset, loop->Next()));
    if (!more) break;
    any = true;
    const ScopePtr inner = Inside(scope);  // what one round sets is gone in the next
    inner->variables.emplace_back("loop", Value::Of(loop));
    RETURN_IF_ERROR(Assign(*statement.target, loop->item(), inner));
    ASSIGN_OR_RETURN(const Flow flow, Execute(statement.body, inner, out));
    if (flow == Flow::kBreak) break;
  }
  return any ? Result<Flow>(Flow::kNext) : Execute(statement.otherwise, scope, out);
}

Status Evaluator::DefineMacro(const Stmt& statement, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Macro * macro,
                   At(statement.offset, runtime_.Keep(std::make_unique<Macro>(*this, statement, scope))));
  return At(statement.offset, SetVariable(statement.text, Value::Of(macro), scope));
}

Result<Value> Evaluator::CallMacro(const Stmt& macro, const ScopePtr& definition,
                                   const Arguments& arguments) {
  const auto& parameters = macro.parameters;
  if (arguments.positional.size() > parameters.size())
    return InvalidArgument("macro '{}' takes at most {} arguments, {} are given", macro.text,
                           parameters.size(), arguments.positional.size());
  std::vector<const Value*> given(parameters.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) given[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < parameters.size() && parameters[i].name != name) ++i;
    if (i == parameters.size()) return InvalidArgument("macro '{}' has no parameter '{}'", macro.text, name);
    if (given[i]) return InvalidArgument("macro '{}': parameter '{}' is given twice", macro.text, name);
    given[i] = &value;
  }
  const ScopePtr scope = Inside(definition);
  for (size_t i = 0; i < parameters.size(); ++i) {
    Value value = Value::Undefined(fmt::format("parameter '{}' was not provided", parameters[i].name));
    if (given[i]) {
      value = *given[i];
    } else if (parameters[i].fallback) {
      ASSIGN_OR_RETURN(value, Eval(*parameters[i].fallback, scope));
    }
    RETURN_IF_ERROR(SetVariable(parameters[i].name, std::move(value), scope));
  }
  std::string text;
  RETURN_IF_ERROR(Execute(macro.body, scope, text));
  return runtime_.String(std::move(text));
}

Status Evaluator::Print(const Stmt& statement, const ScopePtr& scope, std::string& out) {
  ASSIGN_OR_RETURN(const Value value, Eval(*statement.expr, scope));
  if (value.is_string()) return Emit(statement, value.as_string(), out);
  ASSIGN_OR_RETURN(const std::string text, At(statement.expr->offset, Str(runtime_, value)));
  return Emit(statement, text, out);
}

Status Evaluator::Emit(const Stmt& statement, std::string_view text, std::string& out) {
  RETURN_IF_ERROR(At(statement.offset, runtime_.MayHold(out.size() + text.size())));
  RETURN_IF_ERROR(At(statement.offset, runtime_.SpendText(text.size())));
  out += text;
  return {};
}

Result<Value> Evaluator::Captured(const Stmt& statement, const ScopePtr& scope) {
  std::string text;
  RETURN_IF_ERROR(Execute(statement.body, Inside(scope), text));
  ASSIGN_OR_RETURN(const Value value, At(statement.offset, runtime_.String(std::move(text))));
  return statement.expr ? EvalFilter(*statement.expr, scope, &value) : value;
}

Status Evaluator::Assign(const Expr& target, Value value, const ScopePtr& scope) {
  if (target.kind == ExprKind::kName)
    return At(target.offset, SetVariable(target.name, std::move(value), scope));
  if (target.kind == ExprKind::kAttribute) {
    ASSIGN_OR_RETURN(const Value object, EvalName(*target.children[0], scope));
    auto* space = object.is(Kind::kObject) ? dynamic_cast<Namespace*>(object.as_object()) : nullptr;
    if (!space)
      return At<void>(target.offset,
                      InvalidArgument("'{}' is no namespace, so its attribute '{}' cannot be set",
                                      target.children[0]->name, target.name));
    return At(target.offset, space->Set(runtime_, target.name, std::move(value)));
  }
  ASSIGN_OR_RETURN(std::vector<Value> items,
                   At(target.offset, value.is_undefined() ? Result<std::vector<Value>>(std::vector<Value>())
                                                          : Iterate(runtime_, value)));
  if (items.size() != target.children.size())
    return At<void>(target.offset, InvalidArgument("{} values cannot be unpacked into {} variables",
                                                   items.size(), target.children.size()));
  for (size_t i = 0; i < items.size(); ++i)
    RETURN_IF_ERROR(Assign(*target.children[i], std::move(items[i]), scope));
  return {};
}

Status Evaluator::SetVariable(std::string_view name, Value value, const ScopePtr& scope) {
  RETURN_IF_ERROR(runtime_.Spend(static_cast<int64_t>(scope->variables.size() / 16)));
  if (Value* old = scope->FindHere(name))
    *old = std::move(value);
  else
    scope->variables.emplace_back(name, std::move(value));
  return {};
}

}  // namespace hadal::jinja
