// The expression half of the parser: Jinja2's precedence, from `a if b else c` down to literals.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace hadal::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::string_view source, std::vector<Token> tokens)
      : source_(source), tokens_(std::move(tokens)) {}

 protected:
  /// An expression, with `a if b else c` unless `conditional` is false.
  Result<ExprPtr> Expression(bool conditional = true);
  /// One expression, or several with commas between them as a tuple.
  Result<ExprPtr> TupleOrExpression(bool conditional = true);
  /// `| filter(...) | filter(...)` applied to `input`; `input` may be null for the first of a filter block.
  Result<ExprPtr> Filters(ExprPtr input, bool first_without_pipe);

  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Advance() { at_ = std::min(at_ + 1, tokens_.size() - 1); }
  bool IsName(std::string_view name) const {
    return current().kind == TokenKind::kName && current().text == name;
  }
  bool IsOperator(std::string_view op) const {
    return current().kind == TokenKind::kOperator && current().text == op;
  }
  bool TakeName(std::string_view name);
  bool TakeOperator(std::string_view op);
  Status ExpectOperator(std::string_view op);
  Result<std::string> ExpectName(std::string_view what);
  std::string Found() const;  // what stands here, for messages
  std::string Place(size_t offset) const { return PlaceOf(source_, offset); }
  std::string Place() const { return Place(current().offset); }
  Result<ExprPtr> Finish(ExprPtr expr) const;  // sets its depth, or refuses it

  /// Counts a level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(int& depth) : depth_(depth) { ++depth_; }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    int& depth_;
  };
  Status CheckDepth() const;
  int depth_ = 0;

 private:
  using Rule = Result<ExprPtr> (ExpressionParser::*)();
  Result<ExprPtr> Or();
  Result<ExprPtr> And();
  Result<ExprPtr> Not();
  Result<ExprPtr> Compare();
  Result<ExprPtr> Sum();
  Result<ExprPtr> Concat();
  Result<ExprPtr> Product();
  Result<ExprPtr> Power();
  Result<ExprPtr> UnaryWithFilters() { return Unary(true); }
  Result<ExprPtr> LeftToRight(Rule operand, std::initializer_list<std::string_view> operators);
  Result<ExprPtr> Unary(bool with_filters);
  Result<ExprPtr> Primary();
  Result<ExprPtr> NameOrConstant();
  Result<ExprPtr> Number();
  Result<ExprPtr> Parenthesised();
  Result<ExprPtr> ListLiteral();
  Result<ExprPtr> DictLiteral();
  Result<ExprPtr> Postfix(ExprPtr expr);
  Result<ExprPtr> FiltersAndTests(ExprPtr expr);
  Result<ExprPtr> OneFilter(ExprPtr input);
  Result<ExprPtr> Test(ExprPtr input);
  Result<ExprPtr> Subscript(ExprPtr object);
  Status CallArguments(Expr& call);
  bool AtTestArgument() const;
  ExprPtr New(ExprKind kind) const;

  std::string_view source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace hadal::jinja
