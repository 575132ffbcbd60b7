// One pass over a row of logits: its best token, and whether it can be used at all.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"

namespace hadal {

struct BestLogit {
  int32_t id;
  float logit;
};

/// The highest logit and the lowest id that has it. -inf marks a masked token.
///
/// `position` is for the error only. kDataLoss: a logit is NaN or +inf (the first is named), or all are
/// masked.
Result<BestLogit> FindBest(std::span<const float> logits, uint64_t position);

}  // namespace hadal
