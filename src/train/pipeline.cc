#include "train/pipeline.h"

#include <algorithm>

namespace hadal::train {

int64_t PipelineSlots(PipelineSchedule schedule, int stages, int stage, int64_t micro_batches) {
  return schedule == PipelineSchedule::kGPipe ? micro_batches
                                              : std::min<int64_t>(micro_batches, stages - stage);
}

std::vector<PipelineAction> PlanPipeline(PipelineSchedule schedule, int stages, int stage,
                                         int64_t micro_batches) {
  const int64_t slots = PipelineSlots(schedule, stages, stage, micro_batches);
  std::vector<PipelineAction> plan;
  int64_t forward = 0, backward = 0;
  // As many forwards ahead as there are slots; from then on one backward frees a slot for one forward.
  while (backward < micro_batches) {
    if (forward < micro_batches && forward - backward < slots) {
      plan.push_back({true, forward, forward % slots});
      ++forward;
    } else {
      plan.push_back({false, backward, backward % slots});
      ++backward;
    }
  }
  return plan;
}

double PipelineBubble(int stages, int64_t micro_batches) {
  return static_cast<double>(stages - 1) / static_cast<double>(micro_batches + stages - 1);
}

}  // namespace hadal::train
