#include "engine/logprobs.h"

#include <algorithm>
#include <bit>

#include "engine/exp.h"

namespace hadal {

double LogOfAtLeastOne(double x) {
  // x = m * 2^n with m in [sqrt(1/2), sqrt(2)): log x = n log 2 + 2 atanh(s), s = (m - 1) / (m + 1), |s| <
  // 0.172.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // 32 bits long: n * kLn2High is exact
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr uint64_t kMantissa = (uint64_t{1} << 52) - 1;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  double n = static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
  double m = std::bit_cast<double>((bits & kMantissa) | uint64_t{1023} << 52);
  if (m > 0x1.6a09e667f3bcdp+0) {
    m *= 0.5;
    n += 1;
  }
  const double s = (m - 1) / (m + 1), z = s * s;
  // The series of atanh(s) / s - 1; the first term left out, z^11 / 23, is below 1e-18.
  double p = 0;
  for (int k = 21; k >= 3; k -= 2) p = (p + 1.0 / k) * z;
  return n * kLn2High + (2 * s + (2 * s * p + n * kLn2Low));
}

LogSoftmax::LogSoftmax(std::span<const float> logits)
    : logits_(logits), best_(*std::max_element(logits.begin(), logits.end())) {
  double sum = 0;
  for (const float logit : logits) sum += ExpNonPositive(double{logit} - best_);
  log_sum_ = LogOfAtLeastOne(sum);
}

void LogSoftmax::Top(int64_t count, std::vector<std::pair<int32_t, double>>& top) const {
  top.clear();
  const size_t most = std::min(static_cast<size_t>(count), logits_.size());
  if (most == 0) return;
  for (size_t id = 0; id < logits_.size(); ++id) {
    const double logit = logits_[id];
    if (top.size() == most) {
      if (!(logit > top.back().second)) continue;
      top.pop_back();
    }
    const auto place = std::find_if(top.begin(), top.end(), [&](const auto& t) { return logit > t.second; });
    top.insert(place, {static_cast<int32_t>(id), logit});
  }
  for (auto& [id, value] : top) value = (*this)[id];
}

}  // namespace hadal
