// The byte-level alphabet of GPT-2: each byte is written as one printable character, so that a vocabulary of
// strings can hold any bytes. Printable Latin-1 bytes stand for themselves; the other 68 are U+0100 and
// following.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hadal {

/// The character, as UTF-8 (one or two bytes), that stands for `byte`.
std::string ByteLevelCharacter(uint8_t byte);

/// The bytes that `token` stands for; nothing if one of its characters is outside the alphabet.
std::optional<std::string> BytesOfByteLevel(std::string_view token);

}  // namespace hadal
