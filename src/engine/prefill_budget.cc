#include "engine/prefill_budget.h"

#include <algorithm>

namespace hadal {

PrefillBudget::PrefillBudget(int64_t most, double target_seconds)
    : most_(most), least_(std::min(most, kLeast)), target_(target_seconds), tokens_(most) {}

void PrefillBudget::Observe(int64_t decode_tokens, int64_t prefill_tokens, double seconds) {
  if (target_ <= 0 || decode_tokens == 0 || prefill_tokens == 0) return;
  const double share = seconds / (target_ * kAim);
  int64_t next = tokens_;
  if (seconds > target_)
    next = static_cast<int64_t>(static_cast<double>(std::min(prefill_tokens, tokens_)) / share);
  else if (share < 1 && prefill_tokens >= tokens_)
    next = static_cast<int64_t>(static_cast<double>(tokens_) * std::min(1.25, 1 / share)) + 1;
  tokens_ = std::clamp(next, least_, most_);
}

}  // namespace hadal
