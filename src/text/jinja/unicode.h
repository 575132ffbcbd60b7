// Code points of UTF-8 text, where Python counts characters rather than bytes. Text is valid UTF-8
// throughout: JSON and template sources are checked where they enter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::jinja {

/// Tells whether `text` is valid UTF-8.
bool IsUtf8(std::string_view text);

/// Bytes of the character whose first byte is `lead`.
size_t CharacterBytes(unsigned char lead);
/// The code point that begins at `text[at]`, which is the start of a character.
char32_t CodePointAt(std::string_view text, size_t at);
/// Length in characters.
size_t CharacterCount(std::string_view text);
/// The text cut into its characters.
std::vector<std::string_view> Characters(std::string_view text);

/// What Python's str.isspace accepts.
bool IsSpace(char32_t c);
/// `text` without leading (`left`) and trailing (`right`) characters that are in `characters`; whitespace if
/// null.
std::string_view Strip(std::string_view text, const std::string* characters, bool left, bool right);
/// Lines without their ends, as Python's str.splitlines cuts them.
std::vector<std::string_view> SplitLines(std::string_view text);

/// Upper and lower case, character by character: apart from sharp s, characters whose other case is longer
/// stay.
std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
/// The first letter of each word (a run of letters) in upper case and the rest in lower case.
std::string ToTitle(std::string_view text);
/// The first character in upper case and the rest in lower case.
std::string Capitalize(std::string_view text);

/// Tells whether Python's repr shows the character as it is, rather than as an escape.
bool IsPrintable(std::string_view character);

}  // namespace hadal::jinja
