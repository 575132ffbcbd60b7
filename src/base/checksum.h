// A checksum against bit rot and truncation, not against people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace hadal {

/// FNV-1a over 64-bit words (the last one padded with zeros), with the length mixed in. Pieces are added in order; every
/// piece but the last is a multiple of 8 bytes.
class Checksum {
 public:
  void Add(std::span<const std::byte> bytes) {
    length_ += bytes.size();
    while (!bytes.empty()) {
      uint64_t word = 0;
      const size_t n = bytes.size() < 8 ? bytes.size() : 8;
      std::memcpy(&word, bytes.data(), n);
      hash_ = (hash_ ^ word) * kPrime;
      hash_ ^= hash_ >> 32;  // high bits reach low ones, or a flip at the top of a word would stay there
      bytes = bytes.subspan(n);
    }
  }
  uint64_t value() const { return (hash_ ^ length_) * kPrime; }

 private:
  static constexpr uint64_t kPrime = 0x100000001b3;
  uint64_t hash_ = 0xcbf29ce484222325;
  uint64_t length_ = 0;
};

}  // namespace hadal
