// A grammar as a tree of expressions, however it was written: as GBNF, as a JSON schema, or by hand.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hadal::grammar {

struct CodeRange {
  char32_t first, last;  // both belong to it
  bool operator==(const CodeRange&) const = default;
};

inline constexpr int kUnbounded = -1;
// Levels of groups, of patterns and of schemas: what recursions descend. Deeper ones are refused where they are written.
inline constexpr int kMaxNesting = 100;
// Beyond it a repetition is refused where it is written; the program's size bounds what it may cost.
inline constexpr int64_t kMaxRepetition = 100'000;
inline constexpr size_t kMaxExpressions = 100'000;
// Members and constants looked at to tell the entries of a `oneOf` apart, 0.2 to 0.5 us each.
inline constexpr int64_t kMaxComparisons = 250'000;

/// Handles to an expression and to a rule of one Grammar.
using ExprId = int32_t;
using RuleId = int32_t;

struct Expr {
  enum Kind : uint8_t {
    kLiteral,      // the bytes `text`
    kClass,        // one character of `ranges`, in UTF-8
    kSequence,     // `children`, one after the other
    kChoice,       // one of `children`
    kRepeat,       // children[0], `min` to `max` times
    kRule,         // the rule `value`
    kToken,        // the token `value` as such, whatever its bytes
    kStrings,      // one of `strings`
    kTextWithout,  // any bytes in which `text` does not occur
  };
  Kind kind = kSequence;
  int32_t value = 0;
  int64_t min = 0, max = 0;  // max: kUnbounded
  std::string text;
  std::vector<CodeRange> ranges;  // ascending, apart, without surrogates
  std::vector<ExprId> children;
  std::vector<std::string> strings;
};

class Grammar {
 public:
  struct Rule {
    std::string name;
    ExprId body = -1;  // -1: named and not defined
  };

  ExprId Literal(std::string bytes);
  /// Ranges in any order; `negated`: every other character.
  ExprId Class(std::vector<CodeRange> ranges, bool negated = false);
  ExprId Sequence(std::vector<ExprId> children);
  ExprId Choice(std::vector<ExprId> children);
  ExprId Repeat(ExprId child, int64_t min, int64_t max = kUnbounded);
  ExprId Optional(ExprId child) { return Repeat(child, 0, 1); }
  ExprId Ref(RuleId rule);
  ExprId Token(int32_t id);
  ExprId Strings(std::vector<std::string> strings);
  ExprId TextWithout(std::string marker);
  ExprId Empty() { return Sequence({}); }

  /// The rule of that name, made without a body where there is none.
  RuleId RuleNamed(std::string_view name);
  std::optional<RuleId> FindRule(std::string_view name) const;
  void Define(RuleId rule, ExprId body) { rules_[static_cast<size_t>(rule)].body = body; }

  const Expr& expr(ExprId id) const { return exprs_[static_cast<size_t>(id)]; }
  const Rule& rule(RuleId id) const { return rules_[static_cast<size_t>(id)]; }
  size_t rule_count() const { return rules_.size(); }
  /// kResourceExhausted: more than kMaxExpressions were made; those beyond it are not there.
  Status CheckSize() const;
  bool full() const { return exprs_.size() > kMaxExpressions; }
  /// Counts comparisons that were made for the grammar. kResourceExhausted: more than kMaxComparisons.
  Status CountComparisons(int64_t count);

 private:
  ExprId Add(Expr expr);

  int64_t comparisons_ = 0;
  std::vector<Expr> exprs_;
  std::vector<Rule> rules_;
  std::unordered_map<std::string, RuleId> by_name_;
};

/// Sorted, merged, without surrogates and what lies beyond U+10FFFF.
std::vector<CodeRange> Normalized(std::vector<CodeRange> ranges);
/// All other characters.
std::vector<CodeRange> Complement(const std::vector<CodeRange>& normalized);

}  // namespace hadal::grammar
