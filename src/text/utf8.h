// UTF-8: walking bytes that may be invalid or cut off in the middle of a character.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Step {
  enum Kind : uint8_t { kValid, kInvalid, kIncomplete } kind;
  uint8_t length;  // bytes of the character, or of the maximal invalid or incomplete part: 1 to 4
};

/// What stands at the start of `bytes`, which must not be empty: a character, a maximal invalid part (Unicode
/// standard, section 3.9, "substitution of maximal subparts"), or the beginning of a character that the end
/// of `bytes` cuts off.
Utf8Step NextUtf8(std::string_view bytes);

/// The scalar value of the valid character at the start of `bytes`.
char32_t DecodeUtf8(std::string_view bytes);

/// Appends the UTF-8 form of `scalar`.
void AppendUtf8(char32_t scalar, std::string& out);

/// Appends `bytes` with each maximal invalid part as one U+FFFD, stopping before an incomplete character at
/// the end. Returns how many bytes of that character are left: 0 to 3.
size_t AppendRepairedUtf8(std::string_view bytes, std::string& out);

/// `bytes` with each maximal invalid part, an incomplete character at the end included, as one U+FFFD.
std::string RepairUtf8(std::string_view bytes);

/// Whether `scalar` has the property White_Space.
bool IsWhiteSpace(char32_t scalar);

}  // namespace hadal
