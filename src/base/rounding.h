// Whole-number rounding; x is not negative, unit is positive, and x + unit - 1 fits.
#pragma once

#include <cstdint>

namespace hadal {

/// x / unit, rounded up.
constexpr int64_t CeilDiv(int64_t x, int64_t unit) { return (x + unit - 1) / unit; }
/// The least multiple of `unit` that is at least x.
constexpr int64_t RoundUp(int64_t x, int64_t unit) { return CeilDiv(x, unit) * unit; }

}  // namespace hadal
