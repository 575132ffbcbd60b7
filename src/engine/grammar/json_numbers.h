// Decimal numbers between bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/grammar/grammar.h"

namespace hadal::grammar {

// 18 nines: what is longer is not written.
inline constexpr int64_t kLargestInteger = 999'999'999'999'999'999;

struct NumberBound {
  double value = 0;
  bool exclusive = false;
};

/// The integers from `low` to `high`, without leading zeros; both within kLargestInteger of zero, and in
/// order.
ExprId IntegersBetween(Grammar& grammar, int64_t low, int64_t high);

/// The numbers within the bounds (absent: up to kLargestInteger), without exponent and with at most ten
/// digits more after the point than the bounds have. kUnsupported: a bound that isn't zero and smaller than
/// 1e-12, or larger than 1e15. kInvalidArgument: nothing lies between them.
Result<ExprId> NumbersBetween(Grammar& grammar, std::optional<NumberBound> low,
                              std::optional<NumberBound> high);

}  // namespace hadal::grammar
