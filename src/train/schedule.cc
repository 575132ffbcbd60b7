#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hadal::train {

Status LearningRate::Check() const {
  if (!(peak > 0) || !std::isfinite(peak))
    return InvalidArgument("learning rate {}; it must be positive", peak);
  if (!(final_share >= 0 && final_share <= 1))
    return InvalidArgument("the final share of the learning rate is {}, expected 0 to 1", final_share);
  if (warmup_steps < 0 || total_steps < 1 || warmup_steps > total_steps)
    return InvalidArgument("{} warm-up steps of {}", warmup_steps, total_steps);
  if (!(wsd_decay_share >= 0 && wsd_decay_share <= 1))
    return InvalidArgument("the share of steps that decay is {}, expected 0 to 1", wsd_decay_share);
  return {};
}

double LearningRate::At(int64_t step) const {
  const auto s = static_cast<double>(step), total = static_cast<double>(total_steps);
  if (step < warmup_steps) return peak * (s + 1) / static_cast<double>(warmup_steps);
  if (decay == Decay::kConstant) return peak;
  const double from = decay == Decay::kWsd
                          ? std::max(static_cast<double>(warmup_steps), total * (1 - wsd_decay_share))
                          : static_cast<double>(warmup_steps);
  if (s < from) return peak;
  const double progress = total > from ? std::min(1.0, (s - from) / (total - from)) : 1.0;
  const double share =
      decay == Decay::kWsd ? 1 - progress : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return peak * (final_share + (1 - final_share) * share);
}

void LossScale::Update(bool overflowed) {
  if (patience_ == 0) return;
  good_ = overflowed ? 0 : good_ + 1;
  if (overflowed) scale_ = std::max(kLeast, scale_ / 2);
  if (good_ == patience_) {
    scale_ = std::min(kMost, scale_ * 2);
    good_ = 0;
  }
}

}  // namespace hadal::train
