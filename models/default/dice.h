// Random choices that a seed and a number name: chat i is the same however many chats are written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"

namespace hadal::default_model {

class Dice {
 public:
  Dice(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  /// In [0, n); n > 0.
  int64_t Below(int64_t n) {
    const auto words = PhiloxAt(seed_, stream_, index_++);
    return static_cast<int64_t>(((uint64_t{words[0]} << 32) | words[1]) % static_cast<uint64_t>(n));
  }
  /// In [low, high].
  int64_t Between(int64_t low, int64_t high) { return low + Below(high - low + 1); }
  bool Chance(int64_t percent) { return Below(100) < percent; }
  template <typename T>
  const T& Of(std::span<const T> choices) {
    return choices[static_cast<size_t>(Below(static_cast<int64_t>(choices.size())))];
  }
  template <typename T>
  const T& Of(const std::vector<T>& choices) {
    return Of(std::span<const T>(choices));
  }

 private:
  uint64_t seed_, stream_, index_ = 0;
};

}  // namespace hadal::default_model
