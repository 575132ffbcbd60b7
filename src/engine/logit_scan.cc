#include "engine/logit_scan.h"

#include <algorithm>
#include <limits>

namespace hadal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kLanes = 16;    // independent maxima, so that the loop becomes vector code
constexpr int64_t kBlock = 1024;  // what is searched again for the id of the maximum

struct BlockScan {
  float max;
  bool usable;  // no NaN, no +inf
};

BlockScan ScanBlock(const float* logits, int64_t count) {
  float max[kLanes];
  uint32_t bad[kLanes] = {};
  std::fill_n(max, kLanes, -kInf);
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float x = logits[i + lane];
      max[lane] = x > max[lane] ? x : max[lane];
      bad[lane] |= x < kInf ? 0u : 1u;  // false for NaN as well
    }
  }
  for (int64_t i = whole; i < count; ++i) {
    max[0] = std::max(max[0], logits[i]);
    bad[0] |= logits[i] < kInf ? 0u : 1u;
  }
  return {*std::max_element(max, max + kLanes),
          std::all_of(bad, bad + kLanes, [](uint32_t b) { return b == 0; })};
}

}  // namespace

Result<BestLogit> FindBest(std::span<const float> logits, uint64_t position) {
  const int64_t count = static_cast<int64_t>(logits.size());
  float best = -kInf;
  int64_t best_begin = -1;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const BlockScan block = ScanBlock(&logits[begin], std::min(kBlock, count - begin));
    if (!block.usable) {
      const auto bad =
          std::find_if(logits.begin() + begin, logits.end(), [](float x) { return !(x < kInf); });
      return DataLoss(
          "position {}: the logit of token {} is {}, not a finite number; the weights or a computation "
          "before it are corrupt",
          position, bad - logits.begin(), *bad);
    }
    if (block.max > best) {
      best = block.max;
      best_begin = begin;
    }
  }
  if (best_begin < 0) {
    return DataLoss("position {}: all {} logits are -inf, so no token can be chosen", position, count);
  }
  const auto first = std::find(logits.begin() + best_begin, logits.end(), best);
  return BestLogit{static_cast<int32_t>(first - logits.begin()), best};
}

}  // namespace hadal
