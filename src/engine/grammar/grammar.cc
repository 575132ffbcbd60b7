#include "engine/grammar/grammar.h"

#include <algorithm>

namespace hadal::grammar {
namespace {

constexpr char32_t kLastCharacter = 0x10FFFF;
constexpr char32_t kBeforeSurrogates = 0xD7FF, kAfterSurrogates = 0xE000;

Expr OfKind(Expr::Kind kind, int32_t value = 0) {
  Expr expr;
  expr.kind = kind;
  expr.value = value;
  return expr;
}

}  // namespace

std::vector<CodeRange> Normalized(std::vector<CodeRange> ranges) {
  std::vector<CodeRange> parts;
  for (CodeRange range : ranges) {
    range.last = std::min(range.last, kLastCharacter);
    if (range.first > range.last) continue;
    // Around the surrogates, which UTF-8 does not encode.
    if (range.first <= kBeforeSurrogates)
      parts.push_back({range.first, std::min(range.last, kBeforeSurrogates)});
    if (range.last >= kAfterSurrogates)
      parts.push_back({std::max(range.first, kAfterSurrogates), range.last});
  }
  std::ranges::sort(parts, {}, &CodeRange::first);
  std::vector<CodeRange> merged;
  for (const CodeRange& part : parts) {
    if (!merged.empty() && part.first <= merged.back().last + 1)
      merged.back().last = std::max(merged.back().last, part.last);
    else
      merged.push_back(part);
  }
  return merged;
}

std::vector<CodeRange> Complement(const std::vector<CodeRange>& normalized) {
  std::vector<CodeRange> others;
  char32_t next = 0;
  for (const CodeRange& range : normalized) {
    if (range.first > next) others.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCharacter) others.push_back({next, kLastCharacter});
  return Normalized(std::move(others));
}

ExprId Grammar::Add(Expr expr) {
  if (full()) return 0;  // CheckSize says so
  exprs_.push_back(std::move(expr));
  return static_cast<ExprId>(exprs_.size()) - 1;
}

ExprId Grammar::Literal(std::string bytes) {
  Expr expr = OfKind(Expr::kLiteral);
  expr.text = std::move(bytes);
  return Add(std::move(expr));
}

ExprId Grammar::Class(std::vector<CodeRange> ranges, bool negated) {
  Expr expr = OfKind(Expr::kClass);
  expr.ranges = Normalized(std::move(ranges));
  if (negated) expr.ranges = Complement(expr.ranges);
  return Add(std::move(expr));
}

ExprId Grammar::Sequence(std::vector<ExprId> children) {
  if (children.size() == 1) return children[0];
  Expr expr = OfKind(Expr::kSequence);
  expr.children = std::move(children);
  return Add(std::move(expr));
}

ExprId Grammar::Choice(std::vector<ExprId> children) {
  if (children.size() == 1) return children[0];
  Expr expr = OfKind(Expr::kChoice);
  expr.children = std::move(children);
  return Add(std::move(expr));
}

ExprId Grammar::Repeat(ExprId child, int64_t min, int64_t max) {
  Expr expr = OfKind(Expr::kRepeat);
  expr.min = min;
  expr.max = max;
  expr.children = {child};
  return Add(std::move(expr));
}

ExprId Grammar::Ref(RuleId rule) { return Add(OfKind(Expr::kRule, rule)); }

ExprId Grammar::Token(int32_t id) { return Add(OfKind(Expr::kToken, id)); }

ExprId Grammar::Strings(std::vector<std::string> strings) {
  Expr expr = OfKind(Expr::kStrings);
  expr.strings = std::move(strings);
  return Add(std::move(expr));
}

ExprId Grammar::TextWithout(std::string marker) {
  Expr expr = OfKind(Expr::kTextWithout);
  expr.text = std::move(marker);
  return Add(std::move(expr));
}

RuleId Grammar::RuleNamed(std::string_view name) {
  const auto [found, is_new] = by_name_.try_emplace(std::string(name), static_cast<RuleId>(rules_.size()));
  if (is_new) rules_.push_back({std::string(name)});
  return found->second;
}

std::optional<RuleId> Grammar::FindRule(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

Status Grammar::CheckSize() const {
  if (full()) return ResourceExhausted("the grammar has more than {} expressions", kMaxExpressions);
  return {};
}

Status Grammar::CountComparisons(int64_t count) {
  comparisons_ += count;
  if (comparisons_ <= kMaxComparisons) return {};
  return ResourceExhausted("telling the entries of 'oneOf' apart takes more than {} comparisons; use anyOf",
                           kMaxComparisons);
}

}  // namespace hadal::grammar
