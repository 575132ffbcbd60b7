#include "engine/grammar/gbnf.h"

#include <algorithm>
#include <charconv>

#include "text/utf8.h"

namespace hadal::grammar {
namespace {

/// Of one item, as in `"a"*?+`. With kMaxNesting it bounds the depth of the tree.
constexpr int kMaxRepetitionsInRow = 8;

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// A byte as it may stand in a sentence.
std::string Shown(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte < 0x7F ? fmt::format("'{}'", c) : fmt::format("byte 0x{:02X}", byte);
}

class Parser {
 public:
  Parser(std::string_view text, Grammar& grammar, const FindToken& find_token)
      : text_(text), grammar_(grammar), find_token_(find_token) {}

  Status Run() {
    SkipSpace(/*lines=*/true);
    while (at_ < text_.size()) {
      RETURN_IF_ERROR(ParseRule());
      SkipSpace(/*lines=*/true);
    }
    for (const auto& [rule, place] : used_) {
      if (grammar_.rule(rule).body < 0)
        return Fail(place, "the rule '{}' is used and not defined", grammar_.rule(rule).name);
    }
    return grammar_.CheckSize();
  }

 private:
  bool Has(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool Take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  std::string Next() const { return at_ < text_.size() ? Shown(text_[at_]) : "the end"; }

  template <typename... Args>
  tl::unexpected<Error> Fail(size_t place, fmt::format_string<Args...> format, Args&&... args) const {
    const std::string_view before = text_.substr(0, place);
    const size_t line = static_cast<size_t>(std::ranges::count(before, '\n')) + 1;
    const size_t column = place - (before.rfind('\n') + 1) + 1;
    return InvalidArgument("line {}, column {}: {}", line, column,
                           fmt::format(format, std::forward<Args>(args)...));
  }

  void SkipSpace(bool lines) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string_view TakeName() {
    const size_t begin = at_;
    while (at_ < text_.size() && IsNameByte(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  Status ParseRule() {
    const size_t place = at_;
    const std::string_view name = TakeName();
    if (name.empty()) return Fail(place, "expected the name of a rule, found {}", Next());
    SkipSpace(false);
    if (!Take("::="))
      return Fail(at_, "expected '::=' after the rule's name '{}', found {}", name.substr(0, 64), Next());
    const RuleId rule = grammar_.RuleNamed(name);
    if (grammar_.rule(rule).body >= 0)
      return Fail(place, "the rule '{}' is defined twice", name.substr(0, 64));
    if (grammar_.rule_count() > kMaxRules)
      return ResourceExhausted("the grammar has more than {} rules", kMaxRules);
    SkipSpace(true);
    ASSIGN_OR_RETURN(const ExprId body, ParseAlternatives(0));
    if (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r')
      return Fail(at_, "expected the end of the rule '{}', found {}", name.substr(0, 64), Next());
    grammar_.Define(rule, body);
    return {};
  }

  /// On another line, '|' goes on with the rule.
  bool TakeBar() {
    const size_t place = at_;
    SkipSpace(true);
    if (Take("|")) return true;
    at_ = place;
    return false;
  }

  Result<ExprId> ParseAlternatives(int depth) {
    if (depth > kMaxNesting)
      return ResourceExhausted("groups in the grammar are nested more than {} deep", kMaxNesting);
    std::vector<ExprId> alternatives;
    do {
      SkipSpace(true);
      ASSIGN_OR_RETURN(const ExprId one, ParseSequence(depth));
      alternatives.push_back(one);
    } while (TakeBar());
    return grammar_.Choice(std::move(alternatives));
  }

  Result<ExprId> ParseSequence(int depth) {
    std::vector<ExprId> items;
    while (at_ < text_.size()) {
      // A name before '::=' is the next rule.
      if (StartsRule()) break;
      const size_t place = at_;
      ASSIGN_OR_RETURN(const std::optional<ExprId> item, ParseItem(depth));
      if (!item) break;
      ASSIGN_OR_RETURN(const ExprId repeated, ParseRepetitions(*item, place));
      items.push_back(repeated);
      SkipSpace(/*lines=*/depth > 0);
      RETURN_IF_ERROR(grammar_.CheckSize());
    }
    return grammar_.Sequence(std::move(items));
  }

  bool StartsRule() {
    const size_t place = at_;
    const bool starts = !TakeName().empty() && (SkipSpace(false), text_.substr(at_).starts_with("::="));
    at_ = place;
    return starts;
  }

  /// Nothing where no item begins.
  Result<std::optional<ExprId>> ParseItem(int depth) {
    const size_t place = at_;
    if (Take("\"")) return ParseLiteral(place);
    if (Take("[")) return ParseClass(place);
    if (Take(".")) return grammar_.Class({}, /*negated=*/true);
    if (Has('<')) return ParseToken();
    if (Has('!')) {
      Error error = Fail(at_, "'!' before a token is not supported").value();
      return MakeError(Code::kUnsupported, "{}", error.message);
    }
    if (IsNameByte(text_[at_])) {
      const RuleId rule = grammar_.RuleNamed(TakeName());
      used_.emplace_back(rule, place);
      return grammar_.Ref(rule);
    }
    if (!Take("(")) return std::optional<ExprId>();
    ASSIGN_OR_RETURN(const ExprId group, ParseAlternatives(depth + 1));
    SkipSpace(true);
    if (!Take(")")) return Fail(at_, "expected ')' of the group, found {}", Next());
    return group;
  }

  Result<char32_t> TakeCharacter(size_t place) {
    if (at_ >= text_.size()) return Fail(place, "what begins here does not end");
    if (text_[at_] != '\\') {
      const Utf8Step step = NextUtf8(text_.substr(at_));
      if (step.kind != Utf8Step::kValid) return Fail(at_, "the grammar is not valid UTF-8");
      at_ += step.length;
      return DecodeUtf8(text_.substr(at_ - step.length));
    }
    const size_t escape = at_++;
    const char kind = at_ < text_.size() ? text_[at_++] : '\0';
    switch (kind) {
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case 't':
        return U'\t';
      case '"':
      case '\\':
      case '[':
      case ']':
      case '-':
        return static_cast<char32_t>(kind);
      case 'x':
        return TakeHex(2, escape);
      case 'u':
        return TakeHex(4, escape);
      case 'U':
        return TakeHex(8, escape);
      default:
        return Fail(escape,
                    "unknown escape; there are \\n \\r \\t \\\" \\\\ \\[ \\] \\- \\xHH \\uHHHH "
                    "\\UHHHHHHHH");
    }
  }

  Result<char32_t> TakeHex(size_t digits, size_t escape) {
    const std::string_view hex = text_.substr(at_, digits);
    uint32_t value = 0;
    const auto parsed = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    if (hex.size() != digits || parsed.ptr != hex.data() + digits || parsed.ec != std::errc())
      return Fail(escape, "the escape needs {} hexadecimal digits", digits);
    at_ += digits;
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
      return Fail(escape, "U+{:04X} is no character", value);
    return static_cast<char32_t>(value);
  }

  Result<std::optional<ExprId>> ParseLiteral(size_t place) {
    std::string bytes;
    while (!Has('"')) {
      ASSIGN_OR_RETURN(const char32_t c, TakeCharacter(place));
      AppendUtf8(c, bytes);
    }
    ++at_;
    return grammar_.Literal(std::move(bytes));
  }

  Result<std::optional<ExprId>> ParseClass(size_t place) {
    const bool negated = Take("^");
    std::vector<CodeRange> ranges;
    while (!Has(']')) {
      ASSIGN_OR_RETURN(const char32_t first, TakeCharacter(place));
      char32_t last = first;
      if (Has('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        ASSIGN_OR_RETURN(last, TakeCharacter(place));
      }
      if (last < first) return Fail(place, "a range of the set ends before it begins");
      ranges.push_back({first, last});
    }
    ++at_;
    const ExprId made = grammar_.Class(std::move(ranges), negated);
    if (!grammar_.full() && grammar_.expr(made).ranges.empty())
      return Fail(place, "the set has no characters");
    return made;
  }

  Result<std::optional<ExprId>> ParseToken() {
    const size_t place = at_, end = text_.find('>', at_);
    if (end == text_.npos) return Fail(place, "the token's '>' is missing");
    const std::string_view token = text_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    if (!token.starts_with("<[")) {
      const std::optional<int32_t> id = find_token_ ? find_token_(token) : std::nullopt;
      if (!id) return Fail(place, "the model has no token '{}'", token.substr(0, 64));
      return grammar_.Token(*id);
    }
    int32_t id = -1;
    const char* last = token.data() + token.size() - 2;
    const auto parsed = std::from_chars(token.data() + 2, last, id);
    if (parsed.ec != std::errc() || parsed.ptr != last || *last != ']' || id < 0)
      return Fail(place, "a token is written <[ID]> or as its whole text, and this is neither");
    return grammar_.Token(id);
  }

  Result<ExprId> ParseRepetitions(ExprId item, size_t place) {
    // Each one is a level of the tree, which later recursions descend.
    for (int nested = 0;; ++nested) {
      SkipSpace(false);
      const size_t operator_place = at_;
      if (Take("*")) {
        item = grammar_.Repeat(item, 0);
      } else if (Take("+")) {
        item = grammar_.Repeat(item, 1);
      } else if (Take("?")) {
        item = grammar_.Optional(item);
      } else if (Take("{")) {
        ASSIGN_OR_RETURN(item, ParseCounts(item, place));
      } else {
        return item;
      }
      if (nested == kMaxRepetitionsInRow)
        return Fail(operator_place, "repetitions nested deeper than {}", kMaxRepetitionsInRow);
      RETURN_IF_ERROR(grammar_.CheckSize());
    }
  }

  Result<int64_t> TakeCount() {
    SkipSpace(false);
    const size_t place = at_;
    int64_t count = 0;
    while (at_ < text_.size() && IsDigit(text_[at_]) && count <= kMaxRepetition)
      count = count * 10 + (text_[at_++] - '0');
    if (at_ == place) return Fail(at_, "expected a number of repetitions, found {}", Next());
    if (count > kMaxRepetition) return Fail(place, "at most {} repetitions may be asked for", kMaxRepetition);
    SkipSpace(false);
    return count;
  }

  Result<ExprId> ParseCounts(ExprId item, size_t place) {
    ASSIGN_OR_RETURN(const int64_t min, TakeCount());
    int64_t max = min;
    if (Take(",")) {
      SkipSpace(false);
      max = kUnbounded;
      if (!Has('}')) {
        ASSIGN_OR_RETURN(max, TakeCount());
      }
    }
    if (!Take("}")) return Fail(at_, "expected '}}' of the repetition, found {}", Next());
    if (max != kUnbounded && max < min) return Fail(place, "the repetition ends before it begins");
    return grammar_.Repeat(item, min, max);
  }

  const std::string_view text_;
  Grammar& grammar_;
  const FindToken& find_token_;
  size_t at_ = 0;
  std::vector<std::pair<RuleId, size_t>> used_;
};

}  // namespace

Status ParseGbnf(std::string_view text, Grammar& grammar, const FindToken& find_token) {
  if (text.size() > kMaxGrammarBytes)
    return ResourceExhausted("the grammar has {} bytes; at most {} are taken", text.size(), kMaxGrammarBytes);
  return Parser(text, grammar, find_token).Run();
}

}  // namespace hadal::grammar
