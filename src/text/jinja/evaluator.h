// Runs a parsed template: statements append to the output, expressions give values.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/jinja/ast.h"
#include "text/jinja/parser.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

/// Variables set at one level; a name that is not here is looked for in the levels around it.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string_view, Value>> variables;  // names are the template's

  Value* FindHere(std::string_view name);
  const Value* Find(std::string_view name);
};
using ScopePtr = std::shared_ptr<Scope>;

class Evaluator {
 public:
  /// `variables` is a dict. All three must outlive the evaluator.
  Evaluator(const ParsedTemplate& parsed, const Value& variables, Runtime& runtime)
      : parsed_(parsed), variables_(variables), runtime_(runtime) {}

  /// The rendered text. Errors begin with the line and column.
  Result<std::string> Run();

  /// The text of a macro's body for `arguments`, in a scope inside `definition`, where the macro was defined.
  Result<Value> CallMacro(const Stmt& macro, const ScopePtr& definition, const Arguments& arguments);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Result<Flow> Execute(const Body& body, const ScopePtr& scope, std::string& out);
  Result<Flow> Execute(const Stmt& statement, const ScopePtr& scope, std::string& out);
  Result<Flow> If(const Stmt& statement, const ScopePtr& scope, std::string& out);
  Result<Flow> For(const Stmt& statement, const ScopePtr& scope, std::string& out);
  Status DefineMacro(const Stmt& statement, const ScopePtr& scope);
  Status Print(const Stmt& statement, const ScopePtr& scope, std::string& out);
  Status Emit(const Stmt& statement, std::string_view text, std::string& out);
  Result<Value> Captured(const Stmt& statement,
                         const ScopePtr& scope);  // the text of its body, through its filters
  Status Assign(const Expr& target, Value value, const ScopePtr& scope);
  Status SetVariable(std::string_view name, Value value, const ScopePtr& scope);

  Result<Value> Eval(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalByKind(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalName(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalLiteral(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalAccess(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalLogic(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalOperator(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalConcat(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalCompare(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalCall(const Expr& expr, const ScopePtr& scope);
  Result<Value> EvalFilter(const Expr& expr, const ScopePtr& scope, const Value* block);
  Result<Value> EvalTest(const Expr& expr, const ScopePtr& scope);
  Result<Arguments> EvalArguments(const Expr& expr, const ScopePtr& scope);

  /// `result`, with the place put in front of its error if it has none yet.
  template <typename T>
  Result<T> At(uint32_t offset, Result<T> result) {
    if (!result) AddPlace(offset, result.error());
    return result;
  }
  void AddPlace(uint32_t offset, Error& error);

  const ParsedTemplate& parsed_;
  const Value& variables_;
  Runtime& runtime_;
  bool failed_ =
      false;  // the first error ends the rendering, so that one flag tells whether it has its place
};

}  // namespace hadal::jinja
