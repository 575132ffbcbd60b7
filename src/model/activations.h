// Every intermediate of a step, allocated once for the largest step.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/ops.h"
#include "model/config.h"
#include "tensor/buffer.h"

namespace hadal {

/// The largest step a forward pass is planned for.
struct StepLimits {
  int64_t tokens = 512;      // of all sequences in one step
  int64_t logit_rows = 1;    // rows whose logits are computed
  int64_t context = 4096;    // positions of one sequence
  int64_t cache_tokens = 0;  // positions of all sequences together, rounded up to blocks
  int64_t block_size = 64;
  bool mtp = false;          // RunMtp will be called: the prediction layers have a cache too

  /// Of the cache.
  int64_t blocks() const { return (std::max(cache_tokens, context) + block_size - 1) / block_size; }
};

/// Generated tokens whose absorbed attention is computed at once; more are taken in turns.
constexpr int64_t kAbsorbedRows = 64;

/// T tokens, d hidden, H heads, K experts a token; all f32, views of `limits.tokens` rows.
class Activations {
 public:
  static Result<Activations> Create(const ModelConfig& config, const StepLimits& limits);
  static uint64_t PlannedBytes(const ModelConfig& config, const StepLimits& limits);

  View<float> hidden;         // [T, d] the residual stream
  View<float> normed;         // [T, d]
  View<float> branch;         // [T, d] what attention or feed-forward adds to the stream
  View<float> q_latent;       // [T, q_lora]
  View<float> q;              // [T, H * (nope + rope)]
  View<float> kv;             // [T, kv_lora + rope]
  View<float> q_absorbed;     // [kAbsorbedRows, H * kv_lora]
  View<float> o_latent;       // [kAbsorbedRows, H * kv_lora]
  View<float> heads;          // [T, H * value]
  View<float> gate, up;       // [T, dense or shared intermediate]
  View<float> router_logits;  // [T, experts]
  View<int32_t> route_ids;    // [T, K] experts by descending selection score
  View<float> route_weights;  // [T, K]
  View<float> expert_gate, expert_up;  // [T * K, moe intermediate], grouped by expert
  View<float> expert_out;     // [T * K, d], grouped by expert
  View<int32_t> expert_first; // [1, experts + 1] where each expert's group begins
  View<int32_t> expert_rows;  // [1, T * K] token row of each grouped place
  View<int32_t> route_places; // [T, K] grouped place of each route
  View<float> shared_out;     // [T, d]
  View<float> selected;       // [logit rows, d]
  View<float> logits;         // [logit rows, vocab]
  View<float> mtp_input;      // [T, 2 * d]

  std::vector<ops::LinearJob> jobs;  // reserved for the most that run together
  std::vector<ops::Query> queries;   // reserved for T

 private:
  template <typename Visitor>
  void ForEach(const ModelConfig& config, const StepLimits& limits, Visitor&& visit);
  ByteBuffer memory_;
};

/// What the ops' scratch must hold for such steps.
OpLimits LimitsOf(const ModelConfig& config, const StepLimits& limits);

}  // namespace hadal
