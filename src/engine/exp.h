// The exponential of a softmax, from plain IEEE operations only: the C library picks its exp by CPU, so its
// last bit may differ between machines, and a drawn token with it.
#pragma once

#include <bit>
#include <cstdint>

namespace hadal {

/// e^x for x <= 0, within 2 units in the last place; 0 below -708, where the result would leave the normal
/// range. Has no branches and no conversions, so loops over it become vector code.
inline double ExpNonPositive(double x) {
  constexpr double kLowest = -708;
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // 32 bits long: n * kLn2High is exact
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits

  const double clamped = x > kLowest ? x : kLowest;
  const double shifted = clamped * kLog2E + kRound;
  const double n = shifted - kRound;
  const double r = (clamped - n * kLn2High) - n * kLn2Low;  // |r| <= ln(2) / 2
  // Taylor to r^13: the first term left out is below 5e-18 of the result.
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  // 2^n by adding n to the exponent field.
  const uint64_t scaled = std::bit_cast<uint64_t>(p) + (std::bit_cast<uint64_t>(shifted) << 52);
  return x > kLowest ? std::bit_cast<double>(scaled) : 0.0;
}

}  // namespace hadal
