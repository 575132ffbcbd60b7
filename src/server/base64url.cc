#include "server/base64url.h"

#include <cstdint>

namespace hadal {
namespace {

constexpr char kUrlLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The six bits of a letter, -1 for any other character.
int ValueOf(char c, char letter62, char letter63) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == letter62) return 62;
  return c == letter63 ? 63 : -1;
}

std::optional<std::string> Decode(std::string_view text, char letter62, char letter63) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int held = 0;  // bits in `bits` that are not written yet
  for (const char c : text) {
    const int value = ValueOf(c, letter62, letter63);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes.push_back(static_cast<char>(bits >> held & 0xff));
    bits &= (1u << held) - 1;
  }
  if (bits != 0) return std::nullopt;
  return bytes;
}

}  // namespace

std::string Base64UrlEncode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  uint32_t bits = 0;
  int held = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (held += 8; held >= 6;) {
      held -= 6;
      text.push_back(kUrlLetters[bits >> held & 63]);
    }
    bits &= (1u << held) - 1;
  }
  if (held > 0) text.push_back(kUrlLetters[bits << (6 - held) & 63]);
  return text;
}

std::optional<std::string> Base64UrlDecode(std::string_view text) { return Decode(text, '-', '_'); }

std::optional<std::string> Base64Decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  return Decode(text, '+', '/');
}

}  // namespace hadal
