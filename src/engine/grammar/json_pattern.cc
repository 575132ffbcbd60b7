#include "engine/grammar/json_pattern.h"

#include <algorithm>
#include <charconv>

#include "text/utf8.h"

namespace hadal::grammar {
namespace {

using Ranges = std::vector<CodeRange>;

constexpr size_t kMaxPatternBytes = 4096;

Ranges DigitRanges() { return {{'0', '9'}}; }
Ranges WordRanges() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
// ECMA 262's WhiteSpace and LineTerminator.
Ranges SpaceRanges() {
  return {{0x09, 0x0D},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}
Ranges LineEnds() { return {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}; }

class PatternParser {
 public:
  PatternParser(Grammar& grammar, std::string_view text, const JsonOptions& options)
      : grammar_(grammar), text_(text), options_(options) {}

  Result<ExprId> Run() {
    std::vector<ExprId> branches;
    do {
      std::vector<ExprId> parts;
      if (!Take("^")) parts.push_back(AnyText());
      ASSIGN_OR_RETURN(const ExprId body, ParseBranch(0));
      parts.push_back(body);
      if (!Take("$")) parts.push_back(AnyText());
      branches.push_back(grammar_.Sequence(std::move(parts)));
    } while (Take("|"));
    if (at_ < text_.size()) return InvalidArgument("an unmatched ')'");
    return grammar_.Choice(std::move(branches));
  }

 private:
  bool Has(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool Take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  ExprId AnyText() { return grammar_.Repeat(grammar_.Ref(grammar_.RuleNamed("json-char")), 0); }

  Result<ExprId> OneOf(const Ranges& ranges) {
    const ExprId made = JsonCharacters(grammar_, Normalized(ranges), options_);
    if (!grammar_.full() && grammar_.expr(made).kind == Expr::kChoice && grammar_.expr(made).children.empty())
      return Unsupported("a set without any character that a JSON string can hold unescaped");
    return made;
  }

  Result<ExprId> ParseAlternatives(int depth) {
    if (depth > kMaxNesting) return Unsupported("groups nested more than {} deep", kMaxNesting);
    std::vector<ExprId> branches;
    do {
      ASSIGN_OR_RETURN(const ExprId branch, ParseBranch(depth));
      branches.push_back(branch);
    } while (Take("|"));
    return grammar_.Choice(std::move(branches));
  }

  Result<ExprId> ParseBranch(int depth) {
    std::vector<ExprId> items;
    while (at_ < text_.size() && !Has('|') && !Has(')')) {
      if (Has('$') && depth == 0 && (at_ + 1 == text_.size() || text_[at_ + 1] == '|')) break;
      ASSIGN_OR_RETURN(const ExprId atom, ParseAtom(depth));
      ASSIGN_OR_RETURN(const ExprId item, ParseQuantifier(atom));
      items.push_back(item);
      RETURN_IF_ERROR(grammar_.CheckSize());
    }
    return grammar_.Sequence(std::move(items));
  }

  Result<ExprId> ParseAtom(int depth) {
    if (Has('^') || Has('$')) return Unsupported("'{}' inside the expression", text_[at_]);
    if (Has('*') || Has('+') || Has('?') || Has('{'))
      return InvalidArgument("'{}' with nothing to repeat", text_[at_]);
    if (Take(".")) return OneOf(Complement(Normalized(LineEnds())));
    if (Take("[")) return ParseSet();
    if (Take("(")) {
      if (!Take("?:") && Has('?')) return Unsupported("a group that begins with '(?'");
      ASSIGN_OR_RETURN(const ExprId group, ParseAlternatives(depth + 1));
      if (!Take(")")) return InvalidArgument("a group that does not end");
      return group;
    }
    ASSIGN_OR_RETURN(const Ranges ranges, ParseCharacter(/*in_set=*/false));
    return OneOf(ranges);
  }

  /// A character, or what an escape stands for.
  Result<Ranges> ParseCharacter(bool in_set) {
    if (!Has('\\')) {
      const Utf8Step step = NextUtf8(text_.substr(at_));
      const char32_t c = DecodeUtf8(text_.substr(at_));
      at_ += step.length;
      return Ranges{{c, c}};
    }
    if (++at_ == text_.size()) return InvalidArgument("a '\\' at its end");
    const char c = text_[at_++];
    const auto one = [](char32_t code) { return Ranges{{code, code}}; };
    switch (c) {
      case 'd':
        return DigitRanges();
      case 'D':
        return Complement(Normalized(DigitRanges()));
      case 'w':
        return WordRanges();
      case 'W':
        return Complement(Normalized(WordRanges()));
      case 's':
        return SpaceRanges();
      case 'S':
        return Complement(Normalized(SpaceRanges()));
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'x':
        return ParseHex(2);
      case 'u':
        return ParseHex(4);
      case 'b':
        if (in_set) return one('\b');
        break;
      default:
        if (std::ispunct(static_cast<unsigned char>(c))) return one(static_cast<unsigned char>(c));
    }
    return Unsupported("the escape '\\{}'", static_cast<unsigned char>(c) < 0x80 ? c : '?');
  }

  Result<Ranges> ParseHex(size_t digits) {
    const std::string_view hex = text_.substr(at_, digits);
    uint32_t value = 0;
    const auto parsed = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    if (hex.size() != digits || parsed.ec != std::errc() || parsed.ptr != hex.data() + digits)
      return InvalidArgument("an escape without its {} hexadecimal digits", digits);
    if (value >= 0xD800 && value <= 0xDFFF) return Unsupported("a surrogate");
    at_ += digits;
    return Ranges{{value, value}};
  }

  Result<ExprId> ParseSet() {
    const bool negated = Take("^");
    Ranges ranges;
    while (!Has(']')) {
      if (at_ >= text_.size()) return InvalidArgument("a set that does not end");
      ASSIGN_OR_RETURN(Ranges first, ParseCharacter(/*in_set=*/true));
      const bool is_range = Has('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
      if (is_range) {
        ++at_;
        ASSIGN_OR_RETURN(const Ranges last, ParseCharacter(/*in_set=*/true));
        const bool single = first.size() == 1 && last.size() == 1 && first[0].first == first[0].last &&
                            last[0].first == last[0].last;
        if (!single || last[0].first < first[0].first)
          return InvalidArgument("a range of a set out of order");
        first[0].last = last[0].first;
      }
      ranges.insert(ranges.end(), first.begin(), first.end());
    }
    ++at_;
    ranges = Normalized(std::move(ranges));
    return OneOf(negated ? Complement(ranges) : ranges);
  }

  Result<ExprId> ParseQuantifier(ExprId atom) {
    int64_t min = 0, max = kUnbounded;
    if (Take("+")) {
      min = 1;
    } else if (Take("?")) {
      max = 1;
    } else if (Has('{')) {
      ++at_;
      ASSIGN_OR_RETURN(min, ParseCount());
      max = min;
      if (Take(",")) {
        max = kUnbounded;
        if (!Has('}')) {
          ASSIGN_OR_RETURN(max, ParseCount());
        }
      }
      if (!Take("}")) return InvalidArgument("a '{{' that does not end");
      if (max != kUnbounded && max < min) return InvalidArgument("a repetition that ends before it begins");
    } else if (!Take("*")) {
      return atom;
    }
    Take("?");  // lazy: the same texts
    if (Has('*') || Has('+') || Has('?') || Has('{'))
      return InvalidArgument("two quantifiers, one after the other");
    return grammar_.Repeat(atom, min, max);
  }

  Result<int64_t> ParseCount() {
    int64_t count = 0;
    const std::string_view rest = text_.substr(at_);
    const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), count);
    if (parsed.ec != std::errc() || count < 0) return InvalidArgument("a '{{' without a number");
    if (count > kMaxRepetition) return Unsupported("more than {} repetitions", kMaxRepetition);
    at_ += static_cast<size_t>(parsed.ptr - rest.data());
    return count;
  }

  Grammar& grammar_;
  const std::string_view text_;
  const JsonOptions& options_;
  size_t at_ = 0;
};

}  // namespace

Result<ExprId> PatternContents(Grammar& grammar, std::string_view pattern, const JsonOptions& options) {
  if (pattern.size() > kMaxPatternBytes) return Unsupported("more than {} bytes", kMaxPatternBytes);
  return PatternParser(grammar, pattern, options).Run();
}

}  // namespace hadal::grammar
