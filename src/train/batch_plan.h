// How an update's sequences are shared out: micro-batches, accumulation and replicas.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace hadal::train {

struct BatchPlan {
  int64_t micro_batch_size = 1;             // sequences of one forward
  int64_t gradient_accumulation_steps = 0;  // 0: what the others leave
  int64_t data_parallel = 1;
  int64_t global_batch_size = 0;  // sequences of an update; 0: the product of the others
};

/// The plan with nothing left open. kInvalidArgument: the product does not come out, with the arithmetic and each way to
/// mend it.
Result<BatchPlan> CompleteBatchPlan(const BatchPlan& plan);

}  // namespace hadal::train
