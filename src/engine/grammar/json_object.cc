#include "engine/grammar/json_object.h"

#include <algorithm>
#include <map>

#include "text/utf8.h"

namespace hadal::grammar {
namespace {

ExprId Rule(Grammar& grammar, std::string_view name) { return grammar.Ref(grammar.RuleNamed(name)); }
ExprId Blanks(Grammar& grammar) { return Rule(grammar, "json-ws"); }
ExprId Comma(Grammar& grammar) { return grammar.Sequence({grammar.Literal(","), Blanks(grammar)}); }

/// `item` `min` to `max` times with commas between, none before the first.
ExprId List(Grammar& grammar, ExprId item, int64_t min, int64_t max) {
  if (max == 0) return grammar.Empty();
  const int64_t more = max == kUnbounded ? kUnbounded : max - 1;
  const ExprId list = grammar.Sequence(
      {item, grammar.Repeat(grammar.Sequence({Comma(grammar), item}), std::max<int64_t>(min - 1, 0), more)});
  return min == 0 ? grammar.Optional(list) : list;
}

/// Strings, quotes included, other than `names`; with short escapes only, so that a name can be written in
/// one way. The names' tree is walked as rules, so that no expression nests as deep as a name is long.
class OtherNames {
 public:
  OtherNames(Grammar& grammar, const std::set<std::string>& names, const std::string& prefix,
             const JsonOptions& options)
      : grammar_(grammar), prefix_(prefix), options_(options) {
    nodes_.emplace_back();
    for (const std::string& name : names) Insert(name);
  }

  ExprId Whole() {
    if (nodes_.size() == 1 && !nodes_[0].ends) return Rule(grammar_, "json-string");
    const std::vector<CodeRange> all = Complement({});
    const RuleId free = grammar_.RuleNamed(prefix_ + "free");
    grammar_.Define(free, grammar_.Sequence({grammar_.Repeat(JsonCharacters(grammar_, all, options_), 0),
                                             grammar_.Literal("\"")}));
    for (size_t i = 0; i < nodes_.size(); ++i) {
      std::vector<ExprId> ways;
      std::vector<CodeRange> taken;
      for (const auto& [c, child] : nodes_[i].children) {
        ways.push_back(grammar_.Sequence({JsonCharacters(grammar_, {{c, c}}, options_), NodeRule(child)}));
        taken.push_back({c, c});
      }
      ways.push_back(
          grammar_.Sequence({JsonCharacters(grammar_, Complement(Normalized(std::move(taken))), options_),
                             grammar_.Ref(free)}));
      if (!nodes_[i].ends) ways.push_back(grammar_.Literal("\""));
      grammar_.Define(grammar_.RuleNamed(NodeName(i)), grammar_.Choice(std::move(ways)));
      if (grammar_.full()) break;
    }
    return grammar_.Sequence({grammar_.Literal("\""), NodeRule(0)});
  }

 private:
  struct Node {
    std::map<char32_t, size_t> children;
    bool ends = false;
  };
  void Insert(std::string_view name) {
    size_t at = 0;
    while (!name.empty()) {
      const auto [child, is_new] = nodes_[at].children.try_emplace(DecodeUtf8(name), nodes_.size());
      at = child->second;
      if (is_new) nodes_.emplace_back();
      name.remove_prefix(NextUtf8(name).length);
    }
    nodes_[at].ends = true;
  }
  std::string NodeName(size_t i) const { return fmt::format("{}name {}", prefix_, i); }
  ExprId NodeRule(size_t i) { return Rule(grammar_, NodeName(i)); }

  Grammar& grammar_;
  const std::string& prefix_;
  const JsonOptions& options_;
  std::vector<Node> nodes_;
};

ExprId Member(Grammar& grammar, ExprId name, ExprId value) {
  return grammar.Sequence({name, grammar.Literal(":"), Rule(grammar, "json-sp"), value});
}

/// The rules "next i", members from i on of which there is at least one, and "after i", what may follow a
/// member before i. Each member is one rule's and each comma is read once, so size and work are linear in the
/// members, whichever of them may be left out.
ExprId Members(Grammar& grammar, const ObjectParts& parts, const std::string& prefix,
               const JsonOptions& options) {
  const size_t count = parts.members.size();
  std::optional<ExprId> other;
  if (parts.additional)
    other = Member(grammar, OtherNames(grammar, parts.names, prefix, options).Whole(), *parts.additional);
  if (count == 0) {
    if (!other) return grammar.Empty();
    return List(grammar, *other, parts.min.value_or(0), parts.max ? *parts.max : kUnbounded);
  }
  const auto ref = [&](std::string_view what, size_t i) {
    return grammar.Ref(grammar.RuleNamed(fmt::format("{}{} {}", prefix, what, i)));
  };
  const auto define = [&](std::string_view what, size_t i, ExprId body) {
    grammar.Define(grammar.RuleNamed(fmt::format("{}{} {}", prefix, what, i)), body);
  };
  bool may_end = true;  // no member from i on is required
  if (other) define("next", count, List(grammar, *other, 1, kUnbounded));
  for (size_t i = count; !grammar.full(); --i) {
    if (i < count) {
      const auto& [name, value] = parts.members[i];
      const bool required = parts.required.contains(name);
      std::vector<ExprId> ways = {grammar.Sequence(
          {Member(grammar, grammar.Literal(JsonString(name, options)), value), ref("after", i + 1)})};
      if (!required && (i + 1 < count || other)) ways.push_back(ref("next", i + 1));
      define("next", i, grammar.Choice(std::move(ways)));
      may_end &= !required;
    }
    if (i == 0) break;
    const bool more = i < count || other;
    ExprId after = more ? grammar.Sequence({Comma(grammar), ref("next", i)}) : grammar.Empty();
    if (more && may_end) after = grammar.Optional(after);
    define("after", i, after);
  }
  return may_end ? grammar.Optional(ref("next", 0)) : ref("next", 0);
}

Status CheckCounts(const ObjectParts& parts) {
  const auto required = static_cast<int64_t>(parts.required.size());
  const auto declared = static_cast<int64_t>(parts.members.size());
  const bool free = declared == 0 && parts.additional;
  // A name may come twice, so two members may be one property.
  if (parts.min && *parts.min > std::max<int64_t>(required, free ? 1 : 0))
    return Unsupported("'minProperties' is only supported up to the required properties, or 1 without any");
  if (parts.max && !free && (*parts.max < declared || parts.additional))
    return Unsupported("'maxProperties' is not supported beside properties");
  return {};
}

}  // namespace

Result<ExprId> ObjectExpression(Grammar& grammar, const ObjectParts& parts, const std::string& prefix,
                                const JsonOptions& options) {
  RETURN_IF_ERROR(CheckCounts(parts));
  if (parts.max && parts.min.value_or(0) > *parts.max)
    return InvalidArgument("maxProperties is below minProperties");
  if (parts.max.value_or(0) > kMaxRepetition)
    return Unsupported("'maxProperties' is only supported up to {}", kMaxRepetition);
  return grammar.Sequence({grammar.Literal("{"), Blanks(grammar), Members(grammar, parts, prefix, options),
                           Blanks(grammar), grammar.Literal("}")});
}

Result<ExprId> ArrayExpression(Grammar& grammar, const ArrayParts& parts, const std::string& prefix) {
  const auto first = static_cast<int64_t>(parts.first.size());
  const int64_t max = parts.max ? *parts.max : parts.rest ? kUnbounded : first;
  const int64_t min = parts.min.value_or(max == kUnbounded ? first : std::min(first, max));
  if (max != kUnbounded && min > max) return InvalidArgument("an array's minItems is above its maxItems");
  if (!parts.rest && min > first) return InvalidArgument("an array has fewer items than minItems asks for");
  if (min > kMaxRepetition || max > kMaxRepetition)
    return Unsupported("'minItems' and 'maxItems' are only supported up to {}", kMaxRepetition);
  const ExprId blanks = Blanks(grammar);
  ExprId tail = grammar.Empty();  // of the values from place i on, with the comma before them
  if (parts.rest && first == 0) {
    tail = List(grammar, *parts.rest, min, max);
  } else if (parts.rest && (max == kUnbounded || max > first)) {
    tail = grammar.Repeat(grammar.Sequence({Comma(grammar), *parts.rest}), std::max<int64_t>(min - first, 0),
                          max == kUnbounded ? kUnbounded : max - first);
  }
  for (int64_t i = first; i-- > 0;) {
    if (max != kUnbounded && i >= max) continue;
    const ExprId value = parts.first[static_cast<size_t>(i)];
    ExprId one = i == 0 ? grammar.Sequence({value, tail}) : grammar.Sequence({Comma(grammar), value, tail});
    if (i >= min) one = grammar.Optional(one);
    // As a rule, so that long lists are no deep expressions.
    const RuleId rule = grammar.RuleNamed(fmt::format("{}item {}", prefix, i));
    grammar.Define(rule, one);
    tail = grammar.Ref(rule);
  }
  return grammar.Sequence({grammar.Literal("["), blanks, tail, blanks, grammar.Literal("]")});
}

}  // namespace hadal::grammar
