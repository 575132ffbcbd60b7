// The end of the model: final norm, head, cross-entropy, and the multi-token-prediction layer, forward and
// backward in one go, so that no more than a few rows of logits exist at a time.
#pragma once

#include "train/layers/layer.h"

namespace hadal::train {

/// Sums over micro-batches.
struct LossSums {
  double main = 0, mtp = 0;  // of the cross-entropies, unweighted
  int64_t main_targets = 0, mtp_targets = 0;
  int64_t main_hits = 0, mtp_hits = 0;  // targets with the highest logit
};

/// Factors of a token's loss in the whole: loss scale over the number of targets, the prediction layer's
/// times lambda.
struct LossWeights {
  double main = 0, mtp = 0;
};

template <typename T>
class LossHead {
 public:
  /// Rows of logits at a time: enough for the product to be efficient, few enough to stay small.
  static constexpr int64_t kChunk = 256;

  /// Takes its memory; the views of a counting arena count.
  LossHead(const ModelConfig& config, const ProcessMesh& mesh, int64_t rows, Arena& arena);

  /// d [T, d] = the gradient of the weighted losses with respect to `hidden` [T, d], the last layer's output.
  /// Parameters' gradients are added. With `backward` false only the sums are computed, and d is not touched.
  Status Run(const LayerContext<T>& ctx, const ParameterSet<T>& params, View<const T> hidden,
             const LossWeights& weights, bool backward, View<T> d, LossSums& sums,
             LayerStatistics& statistics);

 private:
  /// Cross-entropy of the head on `states` [T, d] against `targets`; dstates [T, d] is set where backward.
  /// layer: the prediction layer, or -1; what a probe is told.
  Status Head(const LayerContext<T>& ctx, int64_t layer, const ParameterSet<T>& params, View<const T> states,
              std::span<const int32_t> targets, double weight, bool backward, View<T> dstates, double& sum,
              int64_t& count, int64_t& hits);
  Status Mtp(const LayerContext<T>& ctx, const ParameterSet<T>& params, const LossWeights& weights,
             bool backward, View<T> dnormed, LossSums& sums, LayerStatistics& statistics);

  const ModelConfig& config_;
  View<T> normed_, rstd_, dnormed_;               // of the final norm
  View<T> logits_;                                // [kChunk, local vocabulary]
  View<T> top_, sums_, target_, weight_, loss_;   // [kChunk]
  // Prediction layer.
  View<T> embedding_, embedding_rstd_, hidden_rstd_;  // [T, d], [T, 1]
  View<T> input_, dinput_;                            // [T, 2d]: normed embedding, normed state
  LayerSaved<T> layer_;
  LayerWorkspace<T> work_;
  View<T> output_, output_normed_, output_rstd_, doutput_;
};

}  // namespace hadal::train
