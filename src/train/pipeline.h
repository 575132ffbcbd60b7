// The order in which a pipeline stage runs its micro-batches.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace hadal::train {

enum class PipelineSchedule {
  k1F1B,   // one forward, one backward: no more activations than stages that follow (arXiv 1806.03377)
  kGPipe,  // all forwards, then all backwards (arXiv 1811.06965)
};

struct PipelineAction {
  bool forward;
  int64_t micro_batch;
  int64_t slot;  // of activations
  bool operator==(const PipelineAction&) const = default;
};

/// What `stage` of `stages` does with `micro_batches`. Every micro-batch goes forward once, and later
/// backward once, in ascending order; a slot is free before it is used again.
std::vector<PipelineAction> PlanPipeline(PipelineSchedule schedule, int stages, int stage,
                                         int64_t micro_batches);
/// Slots that the plan uses.
int64_t PipelineSlots(PipelineSchedule schedule, int stages, int stage, int64_t micro_batches);
/// Share of the time in which a stage waits: (stages - 1) / (micro_batches + stages - 1).
double PipelineBubble(int stages, int64_t micro_batches);

}  // namespace hadal::train
