#include "text/jinja/unicode.h"

#include <algorithm>
#include <memory>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/check.h"
#include "text/utf8.h"

namespace hadal::jinja {
namespace {

/// A fixed pattern over Unicode properties.
class Pattern {
 public:
  explicit Pattern(const char* pattern) {
    int error = 0;
    PCRE2_SIZE at = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_DOTALL, &error, &at, nullptr));
    HADAL_CHECK(code_ != nullptr, "pattern '{}': error {} at {}", pattern, error, at);
  }

  bool Matches(std::string_view text) const {
    std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr), pcre2_match_data_free);
    return pcre2_match(code_.get(), Units(text), text.size(), 0, PCRE2_NO_UTF_CHECK, match.get(), nullptr) >=
           0;
  }

  /// Every match replaced by `replacement`, in which \U$0 and \L$0 change the case.
  std::string Replace(std::string_view text, const char* replacement) const {
    // One character's other case is at most one byte longer than itself, and a replacement that is too long
    // for the buffer is reported and not written.
    std::string out(text.size() * 2 + 8, '\0');
    PCRE2_SIZE length = out.size();
    const int rc =
        pcre2_substitute(code_.get(), Units(text), text.size(), 0,
                         PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_EXTENDED | PCRE2_NO_UTF_CHECK, nullptr,
                         nullptr, reinterpret_cast<PCRE2_SPTR>(replacement), PCRE2_ZERO_TERMINATED,
                         reinterpret_cast<PCRE2_UCHAR*>(out.data()), &length);
    HADAL_CHECK(rc >= 0, "pcre2_substitute: error {}", rc);
    out.resize(length);
    return out;
  }

 private:
  static PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code_{nullptr, pcre2_code_free};
};

const Pattern& EveryText() {
  static const Pattern kText(".+");
  return kText;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80; });
}

char AsciiUpper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
char AsciiLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (step.kind != Utf8Step::kValid) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

size_t CharacterBytes(unsigned char lead) {
  if (lead >= 0xF0 && lead < 0xF8) return 4;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xC0 && lead < 0xE0) return 2;
  return 1;
}

char32_t CodePointAt(std::string_view text, size_t at) { return DecodeUtf8(text.substr(at)); }

size_t CharacterCount(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> out;
  out.reserve(CharacterCount(text));
  for (size_t i = 0; i < text.size();) {
    const size_t bytes = std::min(CharacterBytes(static_cast<unsigned char>(text[i])), text.size() - i);
    out.push_back(text.substr(i, bytes));
    i += bytes;
  }
  return out;
}

bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view Strip(std::string_view text, const std::string* characters, bool left, bool right) {
  std::vector<std::string_view> set;
  if (characters) {
    set = Characters(*characters);
    std::sort(set.begin(), set.end());
  }
  auto strips = [&](std::string_view character) {
    return characters ? std::binary_search(set.begin(), set.end(), character)
                      : IsSpace(CodePointAt(character, 0));
  };
  while (left && !text.empty()) {
    const size_t bytes = std::min(CharacterBytes(static_cast<unsigned char>(text[0])), text.size());
    if (!strips(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (!strips(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return text;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t bytes = CharacterBytes(static_cast<unsigned char>(text[i]));
    const char32_t c = CodePointAt(text, i);
    const bool ends =
        (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    size_t next = i + bytes;
    if (ends) {
      lines.push_back(text.substr(start, i - start));
      if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
      start = next;
    }
    i = next;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::string ToUpper(std::string_view text) {
  if (!IsAscii(text)) {
    std::string expanded;  // sharp s is the one common letter whose upper case is two letters
    for (size_t at = 0; at <= text.size();) {
      const size_t found = std::min(text.find("\u00df", at), text.size());
      expanded += text.substr(at, found - at);
      if (found < text.size()) expanded += "SS";
      at = found + 2;
    }
    return EveryText().Replace(expanded, "\\U$0");
  }
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), AsciiUpper);
  return out;
}

std::string ToLower(std::string_view text) {
  if (!IsAscii(text)) return EveryText().Replace(text, "\\L$0");
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), AsciiLower);
  return out;
}

std::string ToTitle(std::string_view text) {
  static const Pattern kWord("(\\p{L})(\\p{L}*)");
  return kWord.Replace(text, "\\U$1\\E\\L$2\\E");
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return "";
  const size_t first = std::min(CharacterBytes(static_cast<unsigned char>(text[0])), text.size());
  return ToUpper(text.substr(0, first)) + ToLower(text.substr(first));
}

bool IsPrintable(std::string_view character) {
  if (character.size() == 1) return character[0] >= 0x20 && character[0] < 0x7F;
  static const Pattern kHidden("[\\p{C}\\p{Z}]");
  return !kHidden.Matches(character);
}

}  // namespace hadal::jinja
