#include "engine/exp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace hadal {
namespace {

TEST(ExpNonPositive, IsWithinTwoUlpOfTheLibrary) {
  double worst = 0;
  for (double x = 0; x > -708; x -= 0.00137) {
    const double want = std::exp(x);
    const double ulp = std::nextafter(want, 2.0) - want;
    worst = std::max(worst, std::abs(ExpNonPositive(x) - want) / ulp);
  }
  EXPECT_LE(worst, 2);
}

TEST(ExpNonPositive, EndsAreExact) {
  EXPECT_EQ(ExpNonPositive(0.0), 1.0);
  EXPECT_EQ(ExpNonPositive(-0.0), 1.0);
  EXPECT_EQ(ExpNonPositive(-5e-324), 1.0);
  EXPECT_GT(ExpNonPositive(-707.999), 0.0);
  EXPECT_EQ(ExpNonPositive(-708.001), 0.0);
  EXPECT_EQ(ExpNonPositive(-std::numeric_limits<double>::max()), 0.0);
  EXPECT_EQ(ExpNonPositive(-std::numeric_limits<double>::infinity()), 0.0);
}

}  // namespace
}  // namespace hadal
