// What repeated measurements gave, and when.
#pragma once

#include <string>
#include <vector>

namespace hadal {

struct Spread {
  double min = 0, median = 0, max = 0;
};
/// Of a non-empty set; the median of an even count is the mean of the two in the middle.
Spread SpreadOf(std::vector<double> values);

/// Now, as "2026-11-24T08:00:00Z".
std::string UtcNow();

}  // namespace hadal
