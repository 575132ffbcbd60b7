// Log-probabilities of tokens under the model's own distribution.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace hadal {

/// log softmax(logits), in f64 from plain IEEE operations in a fixed order: the same bits on every machine.
class LogSoftmax {
 public:
  /// `logits` [V] must outlive the object; finite or -inf, not all -inf (Sampler::Sample checks). Cost: O(V).
  explicit LogSoftmax(std::span<const float> logits);
  double operator[](int32_t id) const {
    return (double{logits_[static_cast<size_t>(id)]} - best_) - log_sum_;
  }
  /// The `count` likeliest into `top`, descending, of equals the lower id first. O(V), and no allocation
  /// where `top` has the capacity.
  void Top(int64_t count, std::vector<std::pair<int32_t, double>>& top) const;

 private:
  std::span<const float> logits_;
  double best_;     // the highest logit
  double log_sum_;  // log of the sum of e^(logit - best)
};

/// Natural logarithm of a finite x >= 1, within 2 units in the last place.
double LogOfAtLeastOne(double x);

}  // namespace hadal
