// The forward pass: tokens to logits, over the ops and nothing else.
#pragma once

#include <memory>

#include "kernels/ops.h"
#include "model/activations.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/rope.h"
#include "model/step.h"
#include "model/weights.h"
#include "parallel/communicator.h"

namespace hadal {

/// The bytes that a forward pass, and what stands on it, will allocate, by what they are for.
struct MemoryPlan {
  uint64_t weights = 0;
  uint64_t cache = 0;
  int64_t cache_tokens = 0;  // positions that `cache` has room for
  uint64_t activations = 0;
  uint64_t scratch = 0;  // of the ops
  uint64_t tables = 0;   // rotary cosines and sines
  uint64_t requests = 0;     // of an engine loop: its queues at their fullest, sampling, prefix cache, guesses
  uint64_t connections = 0;  // of a server, at its limits
  uint64_t work() const { return activations + scratch + tables; }
  uint64_t total() const { return weights + cache + work() + requests + connections; }
};

/// Everything a step needs, allocated once. Steps run one at a time, from one thread; a step allocates nothing.
class ForwardPass {
 public:
  /// `config`, `weights`, `kernels`, `pool` and `ranks` must outlive the pass. cache_bf16: the type of cached latents.
  /// ranks: each branch (attention, feed-forward) is summed over them before it joins the residual stream. Weights
  /// are not split yet, so only one rank makes sense.
  static Result<std::unique_ptr<ForwardPass>> Create(const ModelConfig& config, const Weights& weights,
                                                     const KernelTable& kernels, ThreadPool& pool, Communicator& ranks,
                                                     const StepLimits& limits, bool cache_bf16);
  /// Everything but the weights.
  static MemoryPlan Plan(const ModelConfig& config, const StepLimits& limits, bool cache_bf16, int threads);

  /// Runs the step's tokens through all layers. Returns logits [step.logit_rows, vocab], valid until the next call.
  /// The cache gets the tokens' latents. kDataLoss if the router meets NaN.
  Result<View<const float>> Run(const Step& step, ForwardObserver* observer = nullptr);

  /// The last Run's states after the final norm, all rows [T, d].
  View<const float> final_states() const { return a_.normed.Rows(0, rows_); }

  /// One multi-token-prediction layer (section 2.2): from states [T, d] after the final norm and the tokens that
  /// follow them, logits [step.logit_rows, vocab] of the tokens after those. step.tokens are the following tokens,
  /// step.positions and runs place the states; `depth` is the MTP layer, 0 for the first. `states` may be
  /// final_states(). zero_first_embedding: takes zeros for the embedding at position 0, as some engines do.
  Result<View<const float>> RunMtp(const Step& step, View<const float> states, int64_t depth,
                                   ForwardObserver* observer = nullptr, bool zero_first_embedding = false);
  /// Of RunMtp only what later calls need of these tokens: their latents in the layer's cache. They depend on
  /// state and token alone, so attention and feed-forward are not computed. Overwrites final_states().
  void CacheMtp(const Step& step, View<const float> states, int64_t depth);

  const StepLimits& limits() const { return limits_; }
  const KvCache& cache() const { return cache_; }

 private:
  ForwardPass(const ModelConfig& config, const Weights& weights, Communicator& ranks, const StepLimits& limits);
  void Embed(const Step& step, View<float> out);
  ops::RopeTable rope() const;
  Status Layer(const LayerWeights& w, const Step& step, int64_t layer, ForwardObserver* observer);
  const MtpWeights& CombineMtp(const Step& step, View<const float> states, int64_t depth, bool zero_first_embedding);
  View<const float> Head(const Step& step);

  const ModelConfig& config_;
  const Weights& weights_;
  Communicator& ranks_;
  StepLimits limits_;
  RopeAngles rope_;
  KvCache cache_;
  Activations a_;
  std::unique_ptr<ExecContext> ctx_;
  int64_t rows_ = 0;
};

}  // namespace hadal
