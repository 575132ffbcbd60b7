// Rotary position embedding: the frequencies, with YaRN's stretch (arXiv 2309.00071).
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace hadal {

/// Inverse frequencies [rope_dim / 2], fp32; pair i of a rotary vector turns by position * inv_freq[i]
/// radians.
///
///   f_i = 1 / theta^(2i / rope_dim);  without YaRN that is all.
///   corr(rho) = rope_dim * ln(L / (2 pi rho)) / (2 ln theta), L = original_max_position_embeddings
///   low = max(floor(corr(beta_fast)), 0);  high = min(ceil(corr(beta_slow)), rope_dim - 1), + 0.001 if equal
///   to low ramp_i = clamp((i - low) / (high - low), 0, 1);  inv_freq_i = (f_i / factor) * ramp_i + f_i * (1
///   - ramp_i)
///
/// Every step rounds to fp32 in the order of the reference (PyTorch) code, so the results are its bits
/// wherever its power function rounds correctly; where that errs (theta 50000, i = 5 of 32) they differ by
/// one unit in the last place. Precondition: rope_dim is positive and even.
std::vector<float> InverseFrequencies(const RopeConfig& rope, int64_t rope_dim);

/// YaRN's factor on attention: 0.1 * mscale * ln(factor) + 1, and 1 where factor <= 1.
double YarnMscale(double factor, double mscale);

/// Factor on cosines and sines: YarnMscale(mscale) / YarnMscale(mscale_all_dim) under YaRN, else 1.
double CosSinScale(const RopeConfig& rope);

/// Cosines and sines of positions [0, positions), each [positions, rope_dim / 2] fp32, row-major, times
/// CosSinScale. The angle is the fp32 product of position and inverse frequency; precise to rounding of cos
/// and sin.
struct RopeAngles {
  RopeAngles(const RopeConfig& rope, int64_t rope_dim, int64_t positions);

  const float* cos_row(int64_t position) const { return cos.data() + position * half; }
  const float* sin_row(int64_t position) const { return sin.data() + position * half; }

  int64_t half = 0;  // rope_dim / 2
  int64_t positions = 0;
  std::vector<float> cos, sin;  // [positions, half]
};

}  // namespace hadal
