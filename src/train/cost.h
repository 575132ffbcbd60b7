// Arithmetic of training, counted: what the share of the machine's peak is a share of.
#pragma once

#include <span>

#include "model/config.h"
#include "train/layers/micro_batch.h"

namespace hadal::train {

/// Floating-point operations of forward and backward of these tokens: 6 for each parameter that is active for
/// a token (the head counts, the embedding does not), and three times the attention core's 2 H (n + r + v)
/// for each pair of a token and one it sees. What checkpointing computes again does not count. The prediction
/// layer counts with its own parameters and the head once more.
double TrainingFlops(const ModelConfig& config, std::span<const MicroBatch> batches);

}  // namespace hadal::train
