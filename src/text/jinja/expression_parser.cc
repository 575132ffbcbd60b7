#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/filters.h"
#include "text/jinja/parser.h"
#include "text/jinja/predicates.h"

namespace hadal::jinja {

bool ExpressionParser::TakeName(std::string_view name) {
  if (!IsName(name)) return false;
  Advance();
  return true;
}

bool ExpressionParser::TakeOperator(std::string_view op) {
  if (!IsOperator(op)) return false;
  Advance();
  return true;
}

Status ExpressionParser::ExpectOperator(std::string_view op) {
  if (!TakeOperator(op)) return InvalidArgument("{}: expected '{}', found {}", Place(), op, Found());
  return {};
}

Result<std::string> ExpressionParser::ExpectName(std::string_view what) {
  if (current().kind != TokenKind::kName)
    return InvalidArgument("{}: expected {}, found {}", Place(), what, Found());
  std::string name = current().text;
  Advance();
  return name;
}

std::string ExpressionParser::Found() const {
  switch (current().kind) {
    case TokenKind::kData: return "text";
    case TokenKind::kVariableBegin: return "'{{'";
    case TokenKind::kVariableEnd: return "'}}'";
    case TokenKind::kBlockBegin: return "'{%'";
    case TokenKind::kBlockEnd: return "'%}'";
    case TokenKind::kString: return "a string";
    case TokenKind::kEnd: return "the end of the template";
    default: return fmt::format("'{}'", current().text);
  }
}

Status ExpressionParser::CheckDepth() const {
  if (depth_ > kMaxParseDepth)
    return ResourceExhausted("{}: the template is nested deeper than {} levels", Place(), kMaxParseDepth);
  return {};
}

ExprPtr ExpressionParser::New(ExprKind kind) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->offset = static_cast<uint32_t>(current().offset);
  return expr;
}

Result<ExprPtr> ExpressionParser::Finish(ExprPtr expr) const {
  for (const ExprPtr& child : expr->children)
    if (child) expr->depth = std::max(expr->depth, 1 + child->depth);
  for (const auto& [name, child] : expr->named) expr->depth = std::max(expr->depth, 1 + child->depth);
  if (expr->depth > kMaxParseDepth)
    return ResourceExhausted("{}: an expression of more than {} nested operations", Place(expr->offset),
                             kMaxParseDepth);
  return expr;
}

Result<ExprPtr> ExpressionParser::Expression(bool conditional) {
  Level level(depth_);
  RETURN_IF_ERROR(CheckDepth());
  ASSIGN_OR_RETURN(ExprPtr expr, Or());
  while (conditional && IsName("if")) {
    ExprPtr choice = New(ExprKind::kConditional);
    Advance();
    ASSIGN_OR_RETURN(ExprPtr condition, Or());
    ExprPtr otherwise;
    if (TakeName("else")) {
      ASSIGN_OR_RETURN(otherwise, Expression());
    }
    choice->children.push_back(std::move(expr));
    choice->children.push_back(std::move(condition));
    choice->children.push_back(std::move(otherwise));
    ASSIGN_OR_RETURN(expr, Finish(std::move(choice)));
  }
  return expr;
}

Result<ExprPtr> ExpressionParser::TupleOrExpression(bool conditional) {
  const size_t offset = current().offset;
  ASSIGN_OR_RETURN(ExprPtr first, Expression(conditional));
  if (!IsOperator(",")) return first;
  ExprPtr tuple = New(ExprKind::kTuple);
  tuple->offset = static_cast<uint32_t>(offset);
  tuple->children.push_back(std::move(first));
  while (TakeOperator(",")) {
    const bool ended = current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd ||
                       IsOperator(")") || IsName("in") || IsName("recursive");
    if (ended) break;
    ASSIGN_OR_RETURN(ExprPtr item, Expression(conditional));
    tuple->children.push_back(std::move(item));
  }
  return Finish(std::move(tuple));
}

Result<ExprPtr> ExpressionParser::Or() {
  ASSIGN_OR_RETURN(ExprPtr left, And());
  while (IsName("or")) {
    ExprPtr node = New(ExprKind::kOr);
    Advance();
    ASSIGN_OR_RETURN(ExprPtr right, And());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::And() {
  ASSIGN_OR_RETURN(ExprPtr left, Not());
  while (IsName("and")) {
    ExprPtr node = New(ExprKind::kAnd);
    Advance();
    ASSIGN_OR_RETURN(ExprPtr right, Not());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::Not() {
  if (!IsName("not")) return Compare();
  Level level(depth_);
  RETURN_IF_ERROR(CheckDepth());
  ExprPtr node = New(ExprKind::kNot);
  Advance();
  ASSIGN_OR_RETURN(ExprPtr operand, Not());
  node->children.push_back(std::move(operand));
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Compare() {
  ExprPtr node = New(ExprKind::kCompare);
  ASSIGN_OR_RETURN(ExprPtr first, Sum());
  node->children.push_back(std::move(first));
  while (true) {
    std::string op;
    for (std::string_view candidate : {"==", "!=", "<", "<=", ">", ">="})
      if (IsOperator(candidate)) op = candidate;
    if (IsName("in")) op = "in";
    if (IsName("not") && next().kind == TokenKind::kName && next().text == "in") {
      op = "not in";
      Advance();
    }
    if (op.empty()) break;
    Advance();
    ASSIGN_OR_RETURN(ExprPtr operand, Sum());
    node->operators.push_back(std::move(op));
    node->children.push_back(std::move(operand));
  }
  if (node->operators.empty()) return std::move(node->children[0]);
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::LeftToRight(Rule operand,
                                              std::initializer_list<std::string_view> operators) {
  ASSIGN_OR_RETURN(ExprPtr left, (this->*operand)());
  while (current().kind == TokenKind::kOperator &&
         std::find(operators.begin(), operators.end(), current().text) != operators.end()) {
    ExprPtr node = New(ExprKind::kBinary);
    node->name = current().text;
    Advance();
    ASSIGN_OR_RETURN(ExprPtr right, (this->*operand)());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::Sum() { return LeftToRight(&ExpressionParser::Concat, {"+", "-"}); }

Result<ExprPtr> ExpressionParser::Concat() {
  ASSIGN_OR_RETURN(ExprPtr first, Product());
  if (!IsOperator("~")) return first;
  ExprPtr node = New(ExprKind::kConcat);
  node->children.push_back(std::move(first));
  while (TakeOperator("~")) {
    ASSIGN_OR_RETURN(ExprPtr part, Product());
    node->children.push_back(std::move(part));
  }
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Product() {
  return LeftToRight(&ExpressionParser::Power, {"*", "/", "//", "%"});
}

Result<ExprPtr> ExpressionParser::Power() { return LeftToRight(&ExpressionParser::UnaryWithFilters, {"**"}); }

Result<ExprPtr> ExpressionParser::Unary(bool with_filters) {
  Level level(depth_);
  RETURN_IF_ERROR(CheckDepth());
  ExprPtr expr;
  if (IsOperator("-") || IsOperator("+")) {
    expr = New(IsOperator("-") ? ExprKind::kNegative : ExprKind::kPositive);
    Advance();
    ASSIGN_OR_RETURN(ExprPtr operand, Unary(false));
    expr->children.push_back(std::move(operand));
    ASSIGN_OR_RETURN(expr, Finish(std::move(expr)));
  } else {
    ASSIGN_OR_RETURN(expr, Primary());
    ASSIGN_OR_RETURN(expr, Postfix(std::move(expr)));
  }
  if (!with_filters) return expr;
  return FiltersAndTests(std::move(expr));
}

Result<ExprPtr> ExpressionParser::Primary() {
  switch (current().kind) {
    case TokenKind::kName: return NameOrConstant();
    case TokenKind::kInteger:
    case TokenKind::kFloat: return Number();
    case TokenKind::kString: {
      ExprPtr node = New(ExprKind::kConst);
      std::string text;
      for (; current().kind == TokenKind::kString; Advance()) text += current().text;
      node->value = Value::String(std::move(text));
      return node;
    }
    default: break;
  }
  if (IsOperator("(")) return Parenthesised();
  if (IsOperator("[")) return ListLiteral();
  if (IsOperator("{")) return DictLiteral();
  return InvalidArgument("{}: expected an expression, found {}", Place(), Found());
}

Result<ExprPtr> ExpressionParser::NameOrConstant() {
  ExprPtr node = New(ExprKind::kConst);
  const std::string& name = current().text;
  if (name == "true" || name == "True") {
    node->value = Value::Bool(true);
  } else if (name == "false" || name == "False") {
    node->value = Value::Bool(false);
  } else if (name == "none" || name == "None") {
    node->value = Value::None();
  } else {
    node->kind = ExprKind::kName;
    node->name = name;
  }
  Advance();
  return node;
}

Result<ExprPtr> ExpressionParser::Number() {
  ExprPtr node = New(ExprKind::kConst);
  std::string text = current().text;
  std::erase(text, '_');
  const char* end = text.data() + text.size();
  std::from_chars_result read{};
  if (current().kind == TokenKind::kFloat) {
    double value = 0;
    read = std::from_chars(text.data(), end, value);
    node->value = Value::Float(value);
  } else {
    int64_t value = 0;
    const char kind = text.size() > 1 ? static_cast<char>(text[1] | 0x20) : '\0';
    const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    read = std::from_chars(text.data() + (base == 10 ? 0 : 2), end, value, base);
    node->value = Value::Int(value);
  }
  if (read.ec != std::errc() || read.ptr != end)
    return InvalidArgument("{}: '{}' is not a number of 64 bits", Place(), text);
  Advance();
  return node;
}

Result<ExprPtr> ExpressionParser::Parenthesised() {
  ExprPtr empty = New(ExprKind::kTuple);
  Advance();
  if (TakeOperator(")")) return empty;
  ASSIGN_OR_RETURN(ExprPtr inner, TupleOrExpression());
  RETURN_IF_ERROR(ExpectOperator(")"));
  return inner;
}

Result<ExprPtr> ExpressionParser::ListLiteral() {
  ExprPtr list = New(ExprKind::kList);
  Advance();
  while (!TakeOperator("]")) {
    if (!list->children.empty()) RETURN_IF_ERROR(ExpectOperator(","));
    if (TakeOperator("]")) break;
    ASSIGN_OR_RETURN(ExprPtr item, Expression());
    list->children.push_back(std::move(item));
  }
  return Finish(std::move(list));
}

Result<ExprPtr> ExpressionParser::DictLiteral() {
  ExprPtr dict = New(ExprKind::kDict);
  Advance();
  while (!TakeOperator("}")) {
    if (!dict->children.empty()) RETURN_IF_ERROR(ExpectOperator(","));
    if (TakeOperator("}")) break;
    ASSIGN_OR_RETURN(ExprPtr key, Expression());
    RETURN_IF_ERROR(ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExprPtr value, Expression());
    dict->children.push_back(std::move(key));
    dict->children.push_back(std::move(value));
  }
  return Finish(std::move(dict));
}

Result<ExprPtr> ExpressionParser::Postfix(ExprPtr expr) {
  while (true) {
    if (IsOperator(".") || IsOperator("[")) {
      ASSIGN_OR_RETURN(expr, Subscript(std::move(expr)));
    } else if (IsOperator("(")) {
      ExprPtr call = New(ExprKind::kCall);
      call->children.push_back(std::move(expr));
      RETURN_IF_ERROR(CallArguments(*call));
      ASSIGN_OR_RETURN(expr, Finish(std::move(call)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> ExpressionParser::FiltersAndTests(ExprPtr expr) {
  while (true) {
    if (IsOperator("|")) {
      ASSIGN_OR_RETURN(expr, Filters(std::move(expr), false));
    } else if (IsName("is")) {
      ASSIGN_OR_RETURN(expr, Test(std::move(expr)));
    } else if (IsOperator("(")) {
      ASSIGN_OR_RETURN(expr, Postfix(std::move(expr)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> ExpressionParser::Filters(ExprPtr input, bool first_without_pipe) {
  if (first_without_pipe) {
    ASSIGN_OR_RETURN(input, OneFilter(std::move(input)));
  }
  while (TakeOperator("|")) {
    ASSIGN_OR_RETURN(input, OneFilter(std::move(input)));
  }
  return input;
}

Result<ExprPtr> ExpressionParser::OneFilter(ExprPtr input) {
  ExprPtr filter = New(ExprKind::kFilter);
  ASSIGN_OR_RETURN(filter->name, ExpectName("a filter's name"));
  if (!FindFilter(filter->name))
    return Unsupported("{}: no filter '{}' here; known are {}", Place(filter->offset), filter->name,
                       FilterNames());
  filter->children.push_back(std::move(input));
  if (IsOperator("(")) RETURN_IF_ERROR(CallArguments(*filter));
  return Finish(std::move(filter));
}

bool ExpressionParser::AtTestArgument() const {
  switch (current().kind) {
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat: return true;
    case TokenKind::kName: return !IsName("else") && !IsName("or") && !IsName("and");
    default: return IsOperator("[") || IsOperator("{");
  }
}

Result<ExprPtr> ExpressionParser::Test(ExprPtr input) {
  Advance();
  ExprPtr negated = New(ExprKind::kNot);
  const bool is_not = TakeName("not");
  ExprPtr test = New(ExprKind::kTest);
  ASSIGN_OR_RETURN(test->name, ExpectName("a test's name after 'is'"));
  if (!FindPredicate(test->name))
    return Unsupported("{}: no test '{}' here; known are {}", Place(test->offset), test->name,
                       PredicateNames());
  test->children.push_back(std::move(input));
  if (IsOperator("(")) {
    RETURN_IF_ERROR(CallArguments(*test));
  } else if (AtTestArgument()) {
    if (IsName("is")) return InvalidArgument("{}: tests cannot be chained with 'is'; use 'and'", Place());
    ASSIGN_OR_RETURN(ExprPtr argument, Primary());
    ASSIGN_OR_RETURN(argument, Postfix(std::move(argument)));
    test->children.push_back(std::move(argument));
  }
  ASSIGN_OR_RETURN(test, Finish(std::move(test)));
  if (!is_not) return test;
  negated->children.push_back(std::move(test));
  return Finish(std::move(negated));
}

Result<ExprPtr> ExpressionParser::Subscript(ExprPtr object) {
  ExprPtr node = New(ExprKind::kAttribute);
  node->children.push_back(std::move(object));
  if (TakeOperator(".")) {
    if (current().kind == TokenKind::kInteger) {
      node->kind = ExprKind::kItem;
      ASSIGN_OR_RETURN(ExprPtr index, Number());
      node->children.push_back(std::move(index));
    } else {
      ASSIGN_OR_RETURN(node->name, ExpectName("an attribute's name after '.'"));
    }
    return Finish(std::move(node));
  }
  Advance();  // [
  ExprPtr parts[3];
  int part = 0;
  bool slice = false;
  while (!IsOperator("]")) {
    if (TakeOperator(":")) {
      slice = true;
      if (++part > 2) return InvalidArgument("{}: a slice has at most three parts", Place());
    } else if (parts[part]) {
      return InvalidArgument("{}: expected ']', found {}", Place(), Found());
    } else {
      ASSIGN_OR_RETURN(parts[part], Expression());
    }
  }
  if (!slice && !parts[0]) return InvalidArgument("{}: expected an index, found ']'", Place());
  Advance();
  node->kind = slice ? ExprKind::kSlice : ExprKind::kItem;
  for (int i = 0; i < (slice ? 3 : 1); ++i) node->children.push_back(std::move(parts[i]));
  return Finish(std::move(node));
}

Status ExpressionParser::CallArguments(Expr& call) {
  Advance();  // (
  for (bool first = true; !TakeOperator(")"); first = false) {
    if (!first) RETURN_IF_ERROR(ExpectOperator(","));
    if (TakeOperator(")")) break;
    if (IsOperator("*") || IsOperator("**"))
      return Unsupported("{}: arguments from a list or dict ('{}') are not supported", Place(),
                         current().text);
    if (current().kind == TokenKind::kName && next().kind == TokenKind::kOperator && next().text == "=") {
      std::string name = current().text;
      Advance();
      Advance();
      ASSIGN_OR_RETURN(ExprPtr value, Expression());
      call.named.emplace_back(std::move(name), std::move(value));
      continue;
    }
    if (!call.named.empty())
      return InvalidArgument("{}: an argument without a name after one with a name", Place());
    ASSIGN_OR_RETURN(ExprPtr value, Expression());
    call.children.push_back(std::move(value));
  }
  return {};
}

}  // namespace hadal::jinja
