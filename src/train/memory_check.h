// Whether a plan of memory fits, and what to lower where it does not.
#pragma once

#include "train/trainer.h"

namespace hadal::train {

/// kResourceExhausted if `plan` is more than `available` bytes for this rank: where the memory would go, and how much
/// less each remedy takes (a smaller micro-batch, more checkpointing, more pipeline stages or replicas).
template <typename T>
Status CheckMemory(const ModelConfig& config, const ProcessMesh& mesh, int threads, const TrainerOptions& options,
                   const TrainerPlan& plan, uint64_t available);

/// "1.25 GB: parameters 0.5, gradients 0.5, …".
std::string PlanText(const TrainerPlan& plan);

}  // namespace hadal::train
