#include "engine/rank_select.h"

#include <array>

#include "base/check.h"

namespace hadal {
namespace {

constexpr int kBuckets = 2048;
struct Digit {
  int shift;
  uint32_t mask;
};
constexpr Digit kDigits[] = {{21, 2047}, {10, 2047}, {0, 1023}};

/// The bucket in which the descending sum over `sums` reaches `need`, which becomes what is left to reach
/// inside it. If rounding keeps the sum below, the lowest bucket that holds anything, to be taken whole
/// (`need` infinite).
uint32_t Descend(const std::array<double, kBuckets>& sums, double& need) {
  int lowest = -1;
  for (int bucket = kBuckets - 1; bucket >= 0; --bucket) {
    if (sums[bucket] <= 0) continue;
    if (sums[bucket] >= need) return static_cast<uint32_t>(bucket);
    need -= sums[bucket];
    lowest = bucket;
  }
  HADAL_CHECK(lowest >= 0, "no element has weight");
  need = __builtin_inf();
  return static_cast<uint32_t>(lowest);
}

/// The shortest prefix of the ranking whose amounts, amount(i) of element i, sum to at least `need`.
template <typename Amount>
RankCut Select(std::span<const float> logits, Amount amount, double need, std::span<int32_t> members) {
  HADAL_CHECK(members.size() >= logits.size(), "{} places for {} elements", members.size(), logits.size());
  int64_t count = static_cast<int64_t>(logits.size());
  uint32_t key = 0;
  bool all = true;  // members are still all elements, and not written down
  for (const Digit& digit : kDigits) {
    std::array<double, kBuckets> sums{};
    for (int64_t m = 0; m < count; ++m) {
      const int32_t i = all ? static_cast<int32_t>(m) : members[m];
      sums[(OrderKey(logits[i]) >> digit.shift) & digit.mask] += amount(i);
    }
    const uint32_t bucket = Descend(sums, need);
    key |= bucket << digit.shift;
    int64_t kept = 0;
    for (int64_t m = 0; m < count; ++m) {
      const int32_t i = all ? static_cast<int32_t>(m) : members[m];
      members[kept] = i;  // kept <= m: what is overwritten has been read
      kept += ((OrderKey(logits[i]) >> digit.shift) & digit.mask) == bucket;
    }
    count = kept;
    all = false;
  }
  // All members have the same logit now, and stand in ascending order.
  double sum = 0;
  for (int64_t m = 0; m < count; ++m) {
    sum += amount(members[m]);
    if (sum >= need) return {key, members[m]};
  }
  return {key, INT32_MAX};
}

}  // namespace

RankCut SelectByCount(std::span<const float> logits, int64_t count, std::span<int32_t> members) {
  HADAL_CHECK(count >= 1 && count <= static_cast<int64_t>(logits.size()), "{} of {}", count, logits.size());
  return Select(
      logits, [](int32_t) { return 1.0; }, static_cast<double>(count), members);
}

RankCut SelectByMass(std::span<const float> logits, std::span<const double> weights, double mass,
                     std::span<int32_t> members) {
  HADAL_CHECK_EQ(logits.size(), weights.size());
  return Select(
      logits, [weights](int32_t i) { return weights[i]; }, mass, members);
}

}  // namespace hadal
