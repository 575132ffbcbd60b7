#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace hadal {
namespace {

/// The frequency index at which a wave turns `rotations` times over the original context.
double CorrectionIndex(const RopeConfig& rope, int64_t rope_dim, double rotations) {
  const double context = static_cast<double>(rope.original_max_position_embeddings);
  return static_cast<double>(rope_dim) * std::log(context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

}  // namespace

std::vector<float> InverseFrequencies(const RopeConfig& rope, int64_t rope_dim) {
  HADAL_CHECK(rope_dim > 0 && rope_dim % 2 == 0, "rope_dim {}", rope_dim);
  const int64_t half = rope_dim / 2;
  std::vector<float> inverse(half);
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope_dim);
    const float power = static_cast<float>(std::pow(rope.theta, static_cast<double>(exponent)));
    inverse[i] = 1.0f / power;
  }
  if (!rope.yarn) return inverse;

  double low = std::max(std::floor(CorrectionIndex(rope, rope_dim, rope.beta_fast)), 0.0);
  double high = std::min(std::ceil(CorrectionIndex(rope, rope_dim, rope.beta_slow)), double(rope_dim - 1));
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < half; ++i) {
    const float start = static_cast<float>(static_cast<double>(i) - low);
    const float ramp = std::clamp(start / static_cast<float>(high - low), 0.0f, 1.0f);
    const float keep = 1.0f - ramp;
    const float stretched = inverse[i] / static_cast<float>(rope.factor);
    inverse[i] = stretched * (1.0f - keep) + inverse[i] * keep;
  }
  return inverse;
}

double YarnMscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double CosSinScale(const RopeConfig& rope) {
  if (!rope.yarn) return 1.0;
  return YarnMscale(rope.factor, rope.mscale) / YarnMscale(rope.factor, rope.mscale_all_dim);
}

RopeAngles::RopeAngles(const RopeConfig& rope, int64_t rope_dim, int64_t positions)
    : half(rope_dim / 2), positions(positions), cos(half * positions), sin(half * positions) {
  const std::vector<float> inverse = InverseFrequencies(rope, rope_dim);
  const float scale = static_cast<float>(CosSinScale(rope));
  for (int64_t position = 0; position < positions; ++position) {
    for (int64_t i = 0; i < half; ++i) {
      // In fp64, then rounded: libm's float versions need not be correctly rounded, and may differ between
      // machines.
      const double angle = static_cast<float>(position) * inverse[i];
      cos[position * half + i] = static_cast<float>(std::cos(angle)) * scale;
      sin[position * half + i] = static_cast<float>(std::sin(angle)) * scale;
    }
  }
}

}  // namespace hadal
