#include "text/jinja/parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "text/jinja/expression_parser.h"
#include "text/jinja/unicode.h"

namespace hadal::jinja {
namespace {

/// The statement half of the parser.
class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Body> Run() { return Statements({}, "", 0); }

 private:
  using EndTags = std::initializer_list<std::string_view>;

  /// Statements up to one of the tags `ends` (which stays), or to the end of the template if there are none.
  /// `opened` at `offset` is the tag that these close.
  Result<Body> Statements(EndTags ends, std::string_view opened, size_t offset) {
    Level level(depth_);
    RETURN_IF_ERROR(CheckDepth());
    Body body;
    while (true) {
      switch (current().kind) {
        case TokenKind::kEnd:
          if (ends.size() == 0) return body;
          return InvalidArgument("{}: '{}' is never closed with '{}'", Place(offset), opened,
                                 *(ends.end() - 1));
        case TokenKind::kData:
          body.push_back(New(StmtKind::kText));
          body.back().text = current().text;
          Advance();
          break;
        case TokenKind::kVariableBegin: {
          body.push_back(New(StmtKind::kPrint));
          Advance();
          ASSIGN_OR_RETURN(body.back().expr, TupleOrExpression());
          if (current().kind != TokenKind::kVariableEnd)
            return InvalidArgument("{}: expected '}}}}', found {}", Place(), Found());
          Advance();
          break;
        }
        default: {
          Advance();  // {%
          if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return IsName(end); }))
            return body;
          ASSIGN_OR_RETURN(Stmt statement, Statement());
          body.push_back(std::move(statement));
        }
      }
    }
  }

  Result<Stmt> Statement() {
    const size_t offset = current().offset;
    if (TakeName("if")) return If(offset);
    if (TakeName("for")) return For(offset);
    if (TakeName("set")) return Set(offset);
    if (TakeName("macro")) return Macro(offset);
    if (TakeName("filter")) return FilterBlock(offset);
    if (TakeName("generation")) return Generation(offset);
    if (IsName("break") || IsName("continue")) return LoopControl();
    constexpr std::array kOutside = {"include", "import",     "from", "extends", "block", "call",
                                     "with",    "autoescape", "do",   "trans",   "debug"};
    for (const char* tag : kOutside)
      if (IsName(tag)) return Unsupported("{}: the tag '{}' is not supported", Place(), tag);
    return InvalidArgument("{}: unknown tag {}", Place(), Found());
  }

  Status EndOfTag() {
    TakeOperator(":");  // Jinja2 lets a tag end with Python's colon
    if (current().kind != TokenKind::kBlockEnd)
      return InvalidArgument("{}: expected '%}}', found {}", Place(), Found());
    Advance();
    return {};
  }

  /// The word of a closing tag and its end.
  Status Close() {
    Advance();
    return EndOfTag();
  }

  Result<Stmt> If(size_t offset) {
    Stmt statement = New(StmtKind::kIf, offset);
    bool has_else = false;
    do {
      Branch branch;
      if (!has_else) {
        ASSIGN_OR_RETURN(branch.condition, TupleOrExpression(false));
      }
      RETURN_IF_ERROR(EndOfTag());
      if (has_else) {
        ASSIGN_OR_RETURN(branch.body, Statements({"endif"}, "if", offset));
      } else {
        ASSIGN_OR_RETURN(branch.body, Statements({"elif", "else", "endif"}, "if", offset));
      }
      statement.branches.push_back(std::move(branch));
      has_else = IsName("else");
    } while (TakeName("elif") || TakeName("else"));
    RETURN_IF_ERROR(Close());
    return statement;
  }

  Result<Stmt> For(size_t offset) {
    Stmt statement = New(StmtKind::kFor, offset);
    ASSIGN_OR_RETURN(statement.target, Target(false));
    if (!TakeName("in")) return InvalidArgument("{}: expected 'in', found {}", Place(), Found());
    ASSIGN_OR_RETURN(statement.expr, TupleOrExpression(false));
    if (TakeName("if")) {
      ASSIGN_OR_RETURN(statement.condition, Expression());
    }
    if (IsName("recursive")) return Unsupported("{}: recursive loops are not supported", Place());
    RETURN_IF_ERROR(EndOfTag());
    ++loops_;
    auto body = Statements({"else", "endfor"}, "for", offset);
    --loops_;
    ASSIGN_OR_RETURN(statement.body, std::move(body));
    if (TakeName("else")) {
      RETURN_IF_ERROR(EndOfTag());
      ASSIGN_OR_RETURN(statement.otherwise, Statements({"endfor"}, "for", offset));
    }
    RETURN_IF_ERROR(Close());
    return statement;
  }

  Result<Stmt> Set(size_t offset) {
    Stmt statement = New(StmtKind::kSet, offset);
    ASSIGN_OR_RETURN(statement.target, Target(true));
    if (TakeOperator("=")) {
      ASSIGN_OR_RETURN(statement.expr, TupleOrExpression());
      RETURN_IF_ERROR(EndOfTag());
      return statement;
    }
    statement.kind = StmtKind::kSetBlock;
    if (IsOperator("|")) {
      ASSIGN_OR_RETURN(statement.expr, Filters(nullptr, false));
    }
    RETURN_IF_ERROR(EndOfTag());
    ASSIGN_OR_RETURN(statement.body, OutsideLoops({"endset"}, "set", offset));
    RETURN_IF_ERROR(Close());
    return statement;
  }

  Result<Stmt> Macro(size_t offset) {
    Stmt statement = New(StmtKind::kMacro, offset);
    ASSIGN_OR_RETURN(statement.text, ExpectName("the macro's name"));
    RETURN_IF_ERROR(ExpectOperator("("));
    while (!TakeOperator(")")) {
      if (!statement.parameters.empty()) RETURN_IF_ERROR(ExpectOperator(","));
      Parameter parameter;
      ASSIGN_OR_RETURN(parameter.name, ExpectName("a parameter's name"));
      if (TakeOperator("=")) {
        ASSIGN_OR_RETURN(parameter.fallback, Expression());
      } else if (!statement.parameters.empty() && statement.parameters.back().fallback) {
        return InvalidArgument("{}: parameter '{}' needs a default, as the one before it has one", Place(),
                               parameter.name);
      }
      statement.parameters.push_back(std::move(parameter));
    }
    RETURN_IF_ERROR(EndOfTag());
    ASSIGN_OR_RETURN(statement.body, OutsideLoops({"endmacro"}, "macro", offset));
    RETURN_IF_ERROR(Close());
    return statement;
  }

  Result<Stmt> FilterBlock(size_t offset) {
    Stmt statement = New(StmtKind::kFilter, offset);
    ASSIGN_OR_RETURN(statement.expr, Filters(nullptr, true));
    RETURN_IF_ERROR(EndOfTag());
    ASSIGN_OR_RETURN(statement.body, OutsideLoops({"endfilter"}, "filter", offset));
    RETURN_IF_ERROR(Close());
    return statement;
  }

  /// Hugging Face's mark around what the assistant wrote; it prints its body.
  Result<Stmt> Generation(size_t offset) {
    Stmt statement = New(StmtKind::kScope, offset);
    RETURN_IF_ERROR(EndOfTag());
    ASSIGN_OR_RETURN(statement.body, OutsideLoops({"endgeneration"}, "generation", offset));
    RETURN_IF_ERROR(Close());
    return statement;
  }

  Result<Stmt> LoopControl() {
    if (loops_ == 0) return InvalidArgument("{}: {} outside a loop", Place(), Found());
    Stmt statement = New(IsName("break") ? StmtKind::kBreak : StmtKind::kContinue);
    Advance();
    RETURN_IF_ERROR(EndOfTag());
    return statement;
  }

  /// A body whose text is collected: a break in it may not leave the loop around it.
  Result<Body> OutsideLoops(EndTags ends, std::string_view opened, size_t offset) {
    const int loops = std::exchange(loops_, 0);
    auto body = Statements(ends, opened, offset);
    loops_ = loops;
    return body;
  }

  /// What a loop or set assigns to: a name, names with commas, or (`attributes`) a namespace's attribute.
  Result<ExprPtr> Target(bool attributes) {
    const size_t offset = current().offset;
    std::vector<ExprPtr> targets;
    bool tuple = false;
    do {
      if (!targets.empty() && (IsName("in") || IsOperator("="))) break;  // a comma at the end
      ASSIGN_OR_RETURN(ExprPtr target, OneTarget(attributes && targets.empty()));
      targets.push_back(std::move(target));
      tuple = tuple || IsOperator(",");
    } while (TakeOperator(","));
    if (!tuple) return std::move(targets[0]);
    auto all = std::make_unique<Expr>();
    all->kind = ExprKind::kTuple;
    all->offset = static_cast<uint32_t>(offset);
    all->children = std::move(targets);
    return Finish(std::move(all));
  }

  Result<ExprPtr> OneTarget(bool attributes) {
    Level level(depth_);
    RETURN_IF_ERROR(CheckDepth());
    if (TakeOperator("(")) {
      ASSIGN_OR_RETURN(ExprPtr inner, Target(false));
      RETURN_IF_ERROR(ExpectOperator(")"));
      return inner;
    }
    auto name = std::make_unique<Expr>();
    name->kind = ExprKind::kName;
    name->offset = static_cast<uint32_t>(current().offset);
    ASSIGN_OR_RETURN(name->name, ExpectName("a variable's name"));
    for (std::string_view constant : {"true", "false", "none", "True", "False", "None"})
      if (name->name == constant)
        return InvalidArgument("{}: cannot assign to '{}'", Place(name->offset), constant);
    if (!attributes || !TakeOperator(".")) return name;
    auto attribute = std::make_unique<Expr>();
    attribute->kind = ExprKind::kAttribute;
    attribute->offset = name->offset;
    attribute->children.push_back(std::move(name));
    ASSIGN_OR_RETURN(attribute->name, ExpectName("an attribute's name after '.'"));
    return attribute;
  }

  Stmt New(StmtKind kind, size_t offset) const {
    Stmt statement;
    statement.kind = kind;
    statement.offset = static_cast<uint32_t>(offset);
    return statement;
  }
  Stmt New(StmtKind kind) const { return New(kind, current().offset); }

  int loops_ = 0;  // loops around this place that break and continue can leave
};

/// Every line end as "\n", and without the newline at the end of the file, as Jinja2 reads a template.
std::string NormaliseLines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

}  // namespace

Result<ParsedTemplate> ParseTemplate(std::string_view source) {
  if (source.size() > kMaxSourceBytes)
    return ResourceExhausted("a template of {} bytes; the limit is {} bytes", source.size(), kMaxSourceBytes);
  if (!IsUtf8(source)) return InvalidArgument("the template is not valid UTF-8");
  ParsedTemplate parsed{.source = NormaliseLines(source), .body = {}};
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(parsed.source));
  ASSIGN_OR_RETURN(parsed.body, Parser(parsed.source, std::move(tokens)).Run());
  return parsed;
}

}  // namespace hadal::jinja
