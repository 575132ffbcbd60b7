// Learning rate over steps, and the loss scale of half precision.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/status.h"

namespace hadal::train {

enum class Decay { kConstant, kCosine, kWsd };

struct LearningRate {
  double peak = 1e-3;
  double final_share = 0.1;   // of the peak, at the end
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;
  Decay decay = Decay::kCosine;
  double wsd_decay_share = 0.2;  // kWsd: of all steps, at the end, over which the rate falls linearly

  /// kInvalidArgument: out of range, with the value.
  Status Check() const;
  /// Of the update number `step`, from 0: linear to the peak over the warm-up, then as `decay` says.
  double At(int64_t step) const;
};

/// Dynamic loss scale of FP16 (arXiv 1710.03740): halved when a gradient overflows (that step is skipped),
/// doubled after `patience` steps without.
class LossScale {
 public:
  LossScale() = default;
  LossScale(double scale, int64_t patience) : scale_(scale), patience_(patience) {}
  double value() const { return scale_; }
  int64_t good_steps() const { return good_; }
  /// As it was; what other options would never have reached is brought to their nearest.
  void Restore(double scale, int64_t good) {
    scale_ = std::clamp(scale, kLeast, kMost);
    good_ = std::clamp<int64_t>(good, 0, std::max<int64_t>(0, patience_ - 1));
  }
  void Update(bool overflowed);

 private:
  static constexpr double kLeast = 1, kMost = 0x1p24;
  double scale_ = 1;
  int64_t patience_ = 0;  // 0: the scale is fixed
  int64_t good_ = 0;
};

}  // namespace hadal::train
