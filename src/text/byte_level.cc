#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace hadal {
namespace {

constexpr int kAlphabetEnd = 0x100 + 68;  // one past the last character of the alphabet

constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};  // -1: not in the alphabet
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const uint16_t character = StandsForItself(byte) ? static_cast<uint16_t>(byte) : next++;
    alphabet.character[byte] = character;
    alphabet.byte[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

std::string ByteLevelCharacter(uint8_t byte) {
  std::string text;
  AppendUtf8(kAlphabet.character[byte], text);
  return text;
}

std::optional<std::string> BytesOfByteLevel(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  while (!token.empty()) {
    const Utf8Step step = NextUtf8(token);
    if (step.kind != Utf8Step::kValid) return std::nullopt;
    const char32_t character = DecodeUtf8(token);
    if (character >= kAlphabetEnd || kAlphabet.byte[character] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[character]));
    token.remove_prefix(step.length);
  }
  return bytes;
}

}  // namespace hadal
