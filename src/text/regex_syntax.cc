// Oniguruma's syntax to PCRE2's. What both mean alike passes as it is; what differs is rewritten or refused,
// so that no pattern silently splits otherwise than in the reference.
#include <algorithm>
#include <array>
#include <cctype>

#include "text/regex.h"
#include "text/unicode_additions.h"

namespace hadal {
namespace {

// The members of \s in Oniguruma (the property White_Space), and the rest; PCRE2's \s has U+180E as well.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// \w in Oniguruma: PCRE2 10.42 leaves out marks and connector punctuation, and the numbers of Latin-1, which
// alone of the category No are in Oniguruma's table.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

constexpr std::string_view kSameEscapes = "rntfeaAzZ";  // letters that mean the same after a backslash

// C and Cn are not among them: they hold what PCRE2's version of Unicode does not know yet.
constexpr auto kCategories = std::to_array<std::string_view>(
    {"Cc", "Cf", "Co", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",  "Mc", "Me", "Mn", "N", "Nd", "Nl", "No",
     "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs"});
// PCRE2 takes a bare script name to mean the script's extensions too, Oniguruma the script alone.
constexpr auto kScripts =
    std::to_array<std::string_view>({"Greek", "Han", "Hangul", "Hebrew", "Hiragana", "Katakana", "Thai"});

// Appends the newer characters of a category, a group of categories ("L") or a script as members of a class.
void AppendAdditions(std::string_view property, std::string& out) {
  for (const UnicodeAddition& addition : kUnicodeAdditions) {
    const bool same = addition.property == property;
    const bool of_group =
        property.size() == 1 && addition.property.size() == 2 && addition.property[0] == property[0];
    if (same || of_group) out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", addition.first, addition.last);
  }
}

std::string WithAdditions(std::string members, std::initializer_list<std::string_view> properties) {
  for (const std::string_view property : properties) AppendAdditions(property, members);
  return members;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> Run() {
    while (at_ < in_.size()) {
      if (in_[at_] == '\\') {
        RETURN_IF_ERROR(Escape());
      } else if (in_class_) {
        RETURN_IF_ERROR(InClass());
      } else {
        RETURN_IF_ERROR(Outside());
      }
    }
    return std::move(out_);
  }

 private:
  bool Ahead(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  void Copy(size_t count) {
    out_.append(in_.substr(at_, count));
    at_ += count;
  }
  tl::unexpected<Error> Refuse(std::string_view what) const {
    return Unsupported(
        "the pattern '{}' uses {} at byte {}, which hadal does not translate from Oniguruma's syntax", in_,
        what, at_);
  }

  Status Outside() {
    if (in_[at_] == '[') {
      in_class_ = true;
      Copy(Ahead("[^") ? 2 : 1);
      if (at_ < in_.size() && in_[at_] == ']') Copy(1);  // first in a class it is a member
      return {};
    }
    if (Ahead("(?") && !KnownGroup())
      return Refuse("a group '(?' of another kind than ?: ?= ?! ?<= ?<! ?> ?i:");
    if (Ahead("(?i:") && !SimpleFold()) return Refuse("a group '(?i:' of more than plain words");
    if (Ahead("(*")) return Refuse("a verb '(*'");
    if (Ahead("{,")) return Refuse("an interval without a lower bound");
    // Possessive and reluctant in PCRE2, repeated and (after {n}) optional in Oniguruma.
    if (Ahead("}+") || Ahead("}?")) return Refuse("a '+' or '?' after an interval");
    Copy(1);
    return {};
  }

  bool KnownGroup() const {
    for (const std::string_view group : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"})
      if (Ahead(group)) return true;
    return false;
  }

  // Whether the group '(?i:' here holds only words of ASCII of which no two letters are the case folding of
  // one character (as "ss" is of "ß"): Oniguruma matches that character too, PCRE2 does not.
  bool SimpleFold() const {
    std::string words(in_.substr(at_ + 4, in_.find(')', at_) - at_ - 4));
    for (char& c : words) {
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (!std::isalnum(static_cast<unsigned char>(c)) &&
          std::string_view("'| ?").find(c) == std::string_view::npos)
        return false;
    }
    for (const std::string_view pair : {"ss", "st", "ff", "fi", "fl"})
      if (words.find(pair) != std::string::npos) return false;
    return true;
  }

  Status InClass() {
    if (in_[at_] == '[') return Refuse("a class inside a class");
    if (Ahead("&&")) return Refuse("an intersection of classes");
    if (in_[at_] == ']') in_class_ = false;
    Copy(1);
    return {};
  }

  // A set of characters, as a class of its own or as members of the class around it.
  void PutSet(std::string_view members, bool negated = false) {
    if (in_class_)
      out_.append(members);
    else
      out_.append(negated ? "[^" : "[").append(members).append("]");
    at_ += 2;
  }

  Status Escape() {
    if (at_ + 1 == in_.size()) return InvalidArgument("the pattern '{}' ends in a backslash", in_);
    const char c = in_[at_ + 1];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool punctuation = c > ' ' && c < 0x7F && !letter && !(c >= '0' && c <= '9');
    if (punctuation || c == ' ' || (letter && kSameEscapes.find(c) != std::string_view::npos)) {
      if (in_class_ && (c == 'A' || c == 'z' || c == 'Z')) return Refuse("an anchor in a class");
      Copy(2);
      return {};
    }
    switch (c) {
      case 's':
        PutSet(kSpace);
        return {};
      case 'S':
        PutSet(kNotSpace);
        return {};
      case 'w':
        PutSet(Word());
        return {};
      case 'd':
        PutSet(Digit());
        return {};
      case 'W':
      case 'D':
        if (in_class_) return Refuse(fmt::format("\\{} in a class", c));
        PutSet(c == 'W' ? Word() : Digit(), /*negated=*/true);
        return {};
      case 'h':
        PutSet("0-9A-Fa-f");
        return {};
      case 'v':
        out_.append("\\x{b}");
        at_ += 2;
        return {};
      case 'x':
        return Hexadecimal();
      case 'u':
        return Unicode();
      case 'p':
      case 'P':
        return Property();
      default:
        return Refuse(fmt::format("the escape '\\{}'", letter || (c >= '0' && c <= '9') ? c : '?'));
    }
  }

  static std::string Word() { return WithAdditions(std::string(kWord), {"L", "M", "Nd", "Nl", "Pc"}); }
  static std::string Digit() { return WithAdditions("\\p{Nd}", {"Nd"}); }

  static bool AllHex(std::string_view text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
  }

  // \x{H...}; without braces Oniguruma takes bytes, not characters.
  Status Hexadecimal() {
    const size_t close = in_.find('}', at_);
    if (!Ahead("\\x{") || close == std::string_view::npos || !AllHex(in_.substr(at_ + 3, close - at_ - 3)))
      return Refuse("\\x without a hexadecimal number in braces");
    Copy(close + 1 - at_);
    return {};
  }

  Status Unicode() {
    const std::string_view digits = in_.substr(at_ + 2, 4);
    if (digits.size() != 4 || !AllHex(digits)) return Refuse("\\u without four hexadecimal digits");
    out_.append("\\x{").append(digits).append("}");
    at_ += 6;
    return {};
  }

  Status Property() {
    const size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string_view::npos)
      return Refuse("a property without braces");
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    bool negated = in_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const bool script = std::find(kScripts.begin(), kScripts.end(), name) != kScripts.end();
    if (!script && std::find(kCategories.begin(), kCategories.end(), name) == kCategories.end())
      return Refuse(fmt::format("the property '{}'", name));
    if (negated && in_class_) return Refuse("a negated property in a class");
    PutSet(WithAdditions(fmt::format("\\p{{{}{}}}", script ? "sc:" : "", name), {name}), negated);
    at_ = close + 1;
    return {};
  }

  std::string_view in_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

Result<std::string> TranslateRegex(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace hadal
