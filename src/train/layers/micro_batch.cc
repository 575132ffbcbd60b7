#include "train/layers/micro_batch.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::train {

MicroBatch MakeMicroBatch(std::span<const int32_t> tokens, std::span<const uint8_t> starts,
                          std::span<const uint8_t> learn, int64_t length) {
  const auto rows = static_cast<int64_t>(tokens.size());
  HADAL_CHECK(
      length > 0 && rows % length == 0 && starts.size() == tokens.size() && learn.size() == tokens.size(),
      "{} tokens in sequences of {}", rows, length);
  MicroBatch batch;
  batch.tokens.assign(tokens.begin(), tokens.end());
  for (int64_t t = 0; t <= rows; t += length) batch.bounds.push_back(static_cast<int32_t>(t));
  int32_t first = 0;
  for (int64_t t = 0; t < rows; ++t) {
    if (t % length == 0 || starts[t]) first = static_cast<int32_t>(t);
    batch.first.push_back(first);
    batch.positions.push_back(static_cast<int32_t>(t) - first);
  }
  // The row `ahead` of t, where it is of the same document.
  const auto ahead = [&](int64_t t, int64_t by) {
    return t + by < rows && batch.first[t + by] == batch.first[t] ? t + by : int64_t{-1};
  };
  for (int64_t t = 0; t < rows; ++t) {
    const int64_t one = ahead(t, 1), two = ahead(t, 2);
    batch.next.push_back(one < 0 ? -1 : tokens[one]);
    batch.targets.push_back(one < 0 || !learn[one] ? -1 : tokens[one]);
    batch.targets2.push_back(two < 0 || !learn[two] ? -1 : tokens[two]);
  }
  return batch;
}

TargetCounts CountTargets(const MicroBatch& batch) {
  const auto count = [](const std::vector<int32_t>& targets) {
    return std::ranges::count_if(targets, [](int32_t target) { return target >= 0; });
  };
  return {count(batch.targets), count(batch.targets2)};
}

}  // namespace hadal::train
