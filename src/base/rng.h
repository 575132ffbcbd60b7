// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator. The same key and counter give the same numbers
// on every machine, whatever else runs, so a draw can be named by what it is for (request seed, position).
#pragma once

#include <array>
#include <cstdint>

namespace hadal {

/// Ten rounds of Philox on four words of counter with two words of key.
constexpr std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// Philox keyed by a 64-bit seed, counted by (stream, index).
constexpr std::array<uint32_t, 4> PhiloxAt(uint64_t seed, uint64_t stream, uint64_t index) {
  return Philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(stream),
                 static_cast<uint32_t>(stream >> 32)},
                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

/// 53 random bits as a double in [0, 1).
constexpr double UnitDouble(uint32_t high, uint32_t low) {
  const uint64_t bits = ((uint64_t{high} << 32) | low) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace hadal
