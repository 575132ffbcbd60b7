#include "ops/arrivals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace hadal {
namespace {

std::vector<double> Times(ArrivalKind kind, double rate, uint64_t seed, int count) {
  Arrivals arrivals(kind, rate, seed);
  std::vector<double> times;
  for (int i = 0; i < count; ++i) times.push_back(arrivals.Next());
  return times;
}

TEST(Arrivals, ASeedGivesTheSameTimesAndAnotherSeedOthers) {
  const auto times = Times(ArrivalKind::kPoisson, 5, 42, 1000);
  EXPECT_EQ(times, Times(ArrivalKind::kPoisson, 5, 42, 1000));
  EXPECT_NE(times, Times(ArrivalKind::kPoisson, 5, 43, 1000));
  // As written down when this was first built: figures of different builds are of the same load.
  EXPECT_NEAR(times[0], 0.026971879805009098, 1e-12);
  EXPECT_NEAR(times[999], 198.9582459668137, 1e-9);
}

TEST(Arrivals, PoissonGapsHaveTheMeanAndTheSpreadOfAnExponential) {
  const int count = 200'000;
  const double rate = 8;
  const auto times = Times(ArrivalKind::kPoisson, rate, 1, count);
  double previous = 0, squares = 0;
  for (const double time : times) {
    ASSERT_GE(time, previous);
    squares += (time - previous) * (time - previous);
    previous = time;
  }
  const double mean = times.back() / count;
  EXPECT_NEAR(mean, 1 / rate, 0.01 / rate);
  EXPECT_NEAR(std::sqrt(squares / count - mean * mean), 1 / rate, 0.01 / rate);
}

TEST(Arrivals, ConstantOnesStandWhereTheyShouldEvenLate) {
  const auto times = Times(ArrivalKind::kConstant, 10, 0, 100'001);
  EXPECT_EQ(times[0], 0);
  EXPECT_DOUBLE_EQ(times[1], 0.1);
  EXPECT_DOUBLE_EQ(times[100'000], 10'000);
}

}  // namespace
}  // namespace hadal
