// What a step of the engine took, and the bytes that a decode step reads: what memory bandwidth is held against.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/forward.h"
#include "model/weights.h"

namespace hadal {

/// The experts that steps read: each expert once a step and layer, however many tokens chose it.
class RouteCount : public ForwardObserver {
 public:
  explicit RouteCount(int64_t experts) : seen_(static_cast<size_t>(experts)) {}
  void OnTensor(std::string_view, int64_t, View<const float>) override {}
  void OnRoutes(int64_t layer, View<const int32_t> ids, View<const float> weights) override;
  /// Distinct experts of all steps and layers seen.
  int64_t distinct() const { return distinct_; }

 private:
  std::vector<char> seen_;
  int64_t distinct_ = 0;
};

/// One step that succeeded.
struct StepRecord {
  int64_t requests = 0;
  int64_t decode_tokens = 0, prefill_tokens = 0;
  double seconds = 0;     // forward, sampling and delivery
  double read_bytes = 0;  // of a step without prompts (DecodeCost::Bytes); 0: the step had prompts
};

/// Bytes that decode steps read from memory, each byte once a step:
///
///   every weight outside the experts + the experts chosen
///     + a row of the embedding for each token + the cached latents of each position and layer
///
/// What is read again from caches, activations and what is written are left out: the figure is the least that
/// any implementation must read.
class DecodeCost {
 public:
  DecodeCost(const ModelConfig& config, const Weights& weights, const KvCache& cache);
  /// `tokens` in the step; `experts`: distinct ones, of all layers together; `positions`: cached ones of all
  /// sequences together.
  double Bytes(double tokens, double experts, double positions) const {
    return fixed_ + tokens * token_ + experts * expert_ + positions * position_;
  }
  double Bytes(int64_t tokens, int64_t experts, int64_t positions) const {
    return Bytes(static_cast<double>(tokens), static_cast<double>(experts), static_cast<double>(positions));
  }
  /// Bytes that a guess adds to a step of one token, as a share of that step's: another row, which reads experts of its
  /// own, and a pass of the prediction layer, counted as one of the model's layers and the head. At most 1.
  double GuessShare() const { return guess_share_; }

 private:
  double fixed_ = 0, token_ = 0, expert_ = 0, position_ = 0;  // bytes
  double guess_share_ = 0;
};

}  // namespace hadal
