// The arithmetic of a benchmark: what a prefill computes and what a decode step reads.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/step_cost.h"
#include "kernels/limits.h"
#include "model/config.h"
#include "model/forward.h"
#include "model/weights.h"

namespace hadal {

/// Floating-point (or integer) operations of computing `count` prompt tokens of one sequence behind `depth`
/// cached ones, with the logits of the last:
///
///   2 * (active parameters - head) * count + 2 * head
///     + layers * 2 H (n + r + v) * (count * depth + count (count + 1) / 2)
///
/// The last term is causal attention in the plain form; 2 H (n + r + v) is 81,920 for DeepSeek-V3. That
/// cached tokens are decompressed again for later chunks is this implementation's affair and does not count
/// as work done.
double PrefillOperations(const ModelConfig& config, int64_t count, int64_t depth);

/// Bytes that a decode step of `batch` tokens reads from memory, each byte once:
///
///   every weight outside the experts + `experts` experts (of all layers together)
///     + a row of the embedding for each token + `positions` cached latents for each token and layer
///
/// With batch 1, experts K a layer and no positions this is Weights::BytesPerToken.
double DecodeStepBytes(const ModelConfig& config, const Weights& weights, const KvCache& cache, int64_t batch,
                       double experts, double positions);

/// The limit that a model's products are held against, and its name in MachineLimits.
struct ArithmeticLimit {
  const char* name;  // "int8_gops", "bf16_gflops" or "f32_gflops"
  double per_second;
};

/// By the inputs of the attention's output product, whose format the large products share: int8 for INT8 and
/// INT4, bf16 for BF16 and FP8, f32 under --compute f32 and wherever the processor has no instruction for the
/// format.
ArithmeticLimit LimitOf(const Weights& weights, const MachineLimits& limits);

}  // namespace hadal
