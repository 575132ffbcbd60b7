// Where a sampling filter cuts the ranking of tokens, found without sorting them.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace hadal {

/// Logits as integers in the same order; -0 and +0 are equal. Not for NaN.
inline uint32_t OrderKey(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);
  return bits ^ ((bits >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}

/// A prefix of the ranking by (logit descending, index ascending), as its last element.
struct RankCut {
  uint32_t key = 0;
  int32_t index = INT32_MAX;
  bool Keeps(float logit, int64_t i) const {
    const uint32_t other = OrderKey(logit);
    return other > key || (other == key && i <= index);
  }
};

/// The shortest prefix of the ranking of `logits` with at least `count` elements, 1 to logits.size().
///
/// `members`: scratch, as long as `logits`. Three passes at most, each over what the one before left
/// undecided (a radix select on 11, 11 and 10 bits of the key), so O(n) whatever the values. No allocation.
RankCut SelectByCount(std::span<const float> logits, int64_t count, std::span<int32_t> members);

/// The shortest non-empty prefix whose weights sum to at least `mass`, or everything of positive weight if
/// rounding leaves the sum below. weights: f64, finite, not negative, some positive; higher logits have no
/// lower weight. Sums run in a fixed order. Scratch and cost as above.
RankCut SelectByMass(std::span<const float> logits, std::span<const double> weights, double mass,
                     std::span<int32_t> members);

}  // namespace hadal
