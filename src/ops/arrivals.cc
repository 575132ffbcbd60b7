#include "ops/arrivals.h"

#include <cmath>

#include "base/rng.h"

namespace hadal {
namespace {

constexpr uint64_t kStream = 0x6172726976616c73;  // "arrivals": no request's own stream has this number

}  // namespace

double Arrivals::Next() {
  const uint64_t index = index_++;
  // Not summed up, so that the millionth is where it should be.
  if (kind_ == ArrivalKind::kConstant) return static_cast<double>(index) / rate_;
  // Gaps of a Poisson process are exponential: -ln(1 - u) / rate with u in [0, 1).
  const auto words = PhiloxAt(seed_, kStream, index);
  time_ += -std::log1p(-UnitDouble(words[0], words[1])) / rate_;
  return time_;
}

}  // namespace hadal
