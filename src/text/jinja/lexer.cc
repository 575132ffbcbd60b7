#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace hadal::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool IsHexDigit(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> Run() {
    while (at_ < source_.size()) RETURN_IF_ERROR(Data());
    Add(TokenKind::kEnd, at_, "");
    return std::move(tokens_);
  }

 private:
  /// The text up to the next tag, and that tag.
  Status Data() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= source_.size()) {
        AddText(source_.substr(at_));
        at_ = source_.size();
        return {};
      }
      if (const char next = source_[tag + 1]; next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    const char type = source_[tag + 1];
    AddText(BeforeTag(source_.substr(at_, tag - at_), tag, type != '{'));
    const size_t begin = tag;
    at_ = tag + 2;
    if (Peek() == '-' || Peek() == '+') ++at_;
    if (type == '#') return Comment(begin);
    if (type == '%' && TakeWord("raw")) return Raw(begin);
    Add(type == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, begin, "");
    return Inside(type == '{' ? '}' : '%', begin);
  }

  /// What stays of the text in front of the tag at `tag`, after `{%-` or lstrip_blocks took its share.
  std::string_view BeforeTag(std::string_view text, size_t tag, bool lstrip) const {
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign == '-') return Strip(text, nullptr, false, true);
    if (sign == '+' || !lstrip) return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting_) return text;
    return Strip(text.substr(line), nullptr, true, true).empty() ? text.substr(0, line) : text;
  }

  Status Comment(size_t begin) {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) return Fail(begin, "a comment that is never closed with '#}'");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    at_ = end + 2;
    AfterTag(sign, true);
    return {};
  }

  /// `{% raw %}` ... `{% endraw %}`; at_ is behind the word raw.
  Status Raw(size_t begin) {
    const char sign = CloseBlock();
    if (sign == '\0' || sign == '+') return Fail(at_, "expected '%}' after 'raw'");
    AfterTag(sign, false);
    const size_t text = at_;
    for (size_t tag = source_.find("{%", at_); tag != std::string_view::npos;
         tag = source_.find("{%", tag + 1)) {
      at_ = tag + 2;
      if (Peek() == '-' || Peek() == '+') ++at_;
      if (!TakeWord("endraw")) continue;
      const char end_sign = CloseBlock();
      if (end_sign == '\0') continue;
      const size_t end = at_;
      AddText(BeforeTag(source_.substr(text, tag - text), tag, true));
      at_ = end;
      AfterTag(end_sign, true);
      return {};
    }
    return Fail(begin, "'raw' that is never closed with 'endraw'");
  }

  /// Skips spaces, then `word`; leaves at_ where it was if something else stands there.
  bool TakeWord(std::string_view word) {
    size_t i = SkipSpace(at_);
    if (source_.substr(i, word.size()) != word) return false;
    i += word.size();
    const size_t next = SkipSpace(i);
    if (next >= source_.size() || (source_[next] != '%' && source_[next] != '-' && source_[next] != '+'))
      return false;
    at_ = i;
    return true;
  }

  /// Takes spaces and `%}`, `-%}` or `+%}`: the sign, ' ' without one, or 0 if it is not there.
  char CloseBlock() {
    const size_t i = SkipSpace(at_);
    if (source_.substr(i, 2) == "%}") return at_ = i + 2, ' ';
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+') && source_.substr(i + 1, 2) == "%}")
      return at_ = i + 3, source_[i];
    return '\0';
  }

  /// Whitespace behind a tag: `-` takes all of it, trim_blocks the first newline.
  void AfterTag(char sign, bool trim) {
    const size_t end = at_;
    if (sign == '-')
      at_ = SkipSpace(at_);
    else if (sign != '+' && trim && Peek() == '\n')
      ++at_;
    line_starting_ = at_ > end && source_[at_ - 1] == '\n';
  }

  /// Tokens of an expression or statement, to its end: `close` is '}' or '%'.
  Status Inside(char close, size_t begin) {
    std::vector<std::pair<char, size_t>> open;  // brackets, inside which "}}" and "%}" do not end the tag
    while (true) {
      at_ = SkipSpace(at_);
      if (at_ >= source_.size())
        return Fail(begin, close == '}' ? "a tag that is never closed with '}}'"
                                        : "a tag that is never closed with '%}'");
      if (open.empty() && TakeEnd(close)) return {};
      RETURN_IF_ERROR(One(open));
    }
  }

  bool TakeEnd(char close) {
    const char sign = Peek() == '-' || (Peek() == '+' && close == '%') ? Peek() : '\0';
    const size_t i = at_ + (sign ? 1 : 0);
    if (i + 1 >= source_.size() || source_[i] != close || source_[i + 1] != '}') return false;
    Add(close == '}' ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, at_, "");
    at_ = i + 2;
    AfterTag(sign, close == '%');
    return true;
  }

  Status One(std::vector<std::pair<char, size_t>>& open) {
    const char c = source_[at_];
    if (c == '\'' || c == '"') return QuotedString(c);
    if (IsDigit(c)) return Number();
    if (IsNameStart(c)) {
      const size_t begin = at_;
      while (at_ < source_.size() && (IsNameStart(source_[at_]) || IsDigit(source_[at_]))) ++at_;
      Add(TokenKind::kName, begin, std::string(source_.substr(begin, at_ - begin)));
      return {};
    }
    for (std::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (source_.substr(at_, 2) != op) continue;
      Add(TokenKind::kOperator, at_, std::string(op));
      at_ += 2;
      return {};
    }
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos)
      return Fail(at_, fmt::format("unexpected character '{}'", c));
    if (c == '(' || c == '[' || c == '{') open.emplace_back(c == '(' ? ')' : c == '[' ? ']' : '}', at_);
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back().first != c)
        return Fail(at_, fmt::format("unexpected '{}'{}", c,
                                     open.empty() ? "" : fmt::format(", expected '{}'", open.back().first)));
      open.pop_back();
    }
    Add(TokenKind::kOperator, at_++, std::string(1, c));
    return {};
  }

  Status Number() {
    const size_t begin = at_;
    const char kind = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
    if (source_[at_] == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) {
      at_ += 2;
      while (at_ < source_.size() && (IsHexDigit(source_[at_]) || source_[at_] == '_')) ++at_;
      Add(TokenKind::kInteger, begin, std::string(source_.substr(begin, at_ - begin)));
      return {};
    }
    bool is_float = false;
    SkipDigits();
    if (Peek() == '.' && at_ + 1 < source_.size() && IsDigit(source_[at_ + 1]) && !AfterDot(begin)) {
      is_float = true;
      ++at_;
      SkipDigits();
    }
    if (Peek() == 'e' || Peek() == 'E') {
      const size_t sign =
          at_ + 1 < source_.size() && (source_[at_ + 1] == '+' || source_[at_ + 1] == '-') ? 2 : 1;
      if (at_ + sign < source_.size() && IsDigit(source_[at_ + sign])) {
        is_float = true;
        at_ += sign;
        SkipDigits();
      }
    }
    std::string text(source_.substr(begin, at_ - begin));
    std::erase(text, '_');
    if (!is_float && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos)
      return Fail(begin, fmt::format("'{}': an integer may not begin with 0", text));
    Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, begin, std::move(text));
    return {};
  }

  bool AfterDot(size_t begin) const { return begin > 0 && source_[begin - 1] == '.'; }
  void SkipDigits() {
    while (at_ < source_.size() &&
           (IsDigit(source_[at_]) ||
            (source_[at_] == '_' && at_ + 1 < source_.size() && IsDigit(source_[at_ + 1]))))
      ++at_;
  }

  Status QuotedString(char quote) {
    const size_t begin = at_++;
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] == '\\')
        RETURN_IF_ERROR(Escape(text));
      else
        text += source_[at_++];
    }
    if (at_ >= source_.size()) return Fail(begin, "a string that is never closed");
    ++at_;
    Add(TokenKind::kString, begin, std::move(text));
    return {};
  }

  /// Python's escapes; a backslash before any other character stands for itself.
  Status Escape(std::string& text) {
    const size_t begin = at_++;
    const char c = Peek();
    if (c == '\0' && at_ >= source_.size()) return {};  // the caller reports the open string
    constexpr std::string_view kPlain = "\\'\"abfnrtv", kMeaning = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t i = kPlain.find(c); i != std::string_view::npos)
      return ++at_, text += kMeaning[i], Status();
    if (c == '\n') return ++at_, Status();
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    char32_t point = 0;
    if (digits) {
      ++at_;
      for (size_t i = 0; i < digits; ++i, ++at_) {
        if (!IsHexDigit(Peek()))
          return Fail(begin, fmt::format("'\\{}' needs {} hexadecimal digits", c, digits));
        point =
            point * 16 + static_cast<char32_t>(IsDigit(Peek()) ? Peek() - '0' : (Peek() | 0x20) - 'a' + 10);
      }
    } else if (c >= '0' && c <= '7') {
      for (int i = 0; i < 3 && Peek() >= '0' && Peek() <= '7'; ++i, ++at_)
        point = point * 8 + static_cast<char32_t>(Peek() - '0');
    } else if (c == 'N') {
      return Fail(begin, "'\\N{...}' is not supported; write the character or '\\u....'");
    } else {
      text += '\\';
      return {};
    }
    if (point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
      return Fail(begin, fmt::format("an escape of U+{:04X}, which is not a character",
                                     static_cast<uint32_t>(point)));
    AppendUtf8(point, text);
    return {};
  }

  size_t SkipSpace(size_t i) const {
    while (i < source_.size() && IsSpace(CodePointAt(source_, i)))
      i += CharacterBytes(static_cast<unsigned char>(source_[i]));
    return std::min(i, source_.size());
  }
  char Peek() const { return at_ < source_.size() ? source_[at_] : '\0'; }

  void AddText(std::string_view text) {
    if (!text.empty()) Add(TokenKind::kData, at_, std::string(text));
  }
  void Add(TokenKind kind, size_t offset, std::string text) {
    tokens_.push_back({kind, offset, std::move(text)});
  }
  Status Fail(size_t offset, const std::string& what) const {
    return InvalidArgument("{}: {}", PlaceOf(source_, offset), what);
  }

  std::string_view source_;
  size_t at_ = 0;
  bool line_starting_ = true;  // nothing but a newline precedes at_ (or it is the beginning)
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

std::string PlaceOf(std::string_view source, size_t offset) {
  const std::string_view before = source.substr(0, std::min(offset, source.size()));
  const size_t newline = before.rfind('\n');
  const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
  return fmt::format("line {}, column {}", 1 + std::count(before.begin(), before.end(), '\n'),
                     1 + CharacterCount(before.substr(line_start)));
}

}  // namespace hadal::jinja
