// The parsed template: statements that print and expressions that give values. Read-only once parsed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace hadal::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind {
  kConst,      // value
  kName,       // name
  kList,       // children: the items
  kTuple,      // children: the items
  kDict,       // children: key, value, key, value...
  kAttribute,  // children[0].name
  kItem,       // children[0][children[1]]
  kSlice,      // children[0][a:b:c] with a, b, c = children[1..3], each may be null
  kCall,       // children[0](children[1..], named)
  kFilter,     // children[0] | name(children[1..], named); children[0] is null in a filter block
  kTest,       // children[0] is name(children[1..], named)
  kNot,        // not children[0]
  kAnd,
  kOr,  // children[0], children[1]
  kNegative,
  kPositive,
  kBinary,       // children[0] op children[1], with the operator in name: + - * / // % **
  kConcat,       // children[0] ~ children[1] ~ ...
  kCompare,      // children[0] operators[0] children[1] operators[1] ...
  kConditional,  // children[0] if children[1] else children[2]; children[2] may be null
};

struct Expr {
  ExprKind kind;
  uint32_t offset = 0;  // into the source, for messages
  int depth = 1;        // nodes from here to the deepest leaf
  Value value;
  std::string name;
  std::vector<ExprPtr> children;
  std::vector<std::pair<std::string, ExprPtr>> named;
  std::vector<std::string> operators;
};

struct Stmt;
using Body = std::vector<Stmt>;

enum class StmtKind {
  kText,      // text
  kPrint,     // expr
  kIf,        // branches, in order; the last has no condition if it is the else
  kFor,       // for target in expr if condition: body; else: otherwise
  kSet,       // target = expr
  kSetBlock,  // target = the text of body, through expr (a chain of filters, may be null)
  kMacro,     // text(parameters): body
  kFilter,    // the text of body through expr
  kScope,     // body with its own variables
  kBreak,
  kContinue,
};

struct Branch;
struct Parameter {
  std::string name;
  ExprPtr fallback;  // null if it has none
};

struct Stmt {
  StmtKind kind;
  uint32_t offset = 0;
  std::string text;
  ExprPtr target;  // kName, kTuple of targets, or kAttribute of a name (a namespace's attribute)
  ExprPtr expr;
  ExprPtr condition;
  Body body;
  Body otherwise;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
};

struct Branch {
  ExprPtr condition;
  Body body;
};

}  // namespace hadal::jinja
