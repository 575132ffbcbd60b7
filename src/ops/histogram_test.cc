#include "ops/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/rng.h"

namespace hadal {
namespace {

/// The definition: the least sample that `percent` of them do not exceed.
double NearestRank(std::vector<double> samples, double percent) {
  std::sort(samples.begin(), samples.end());
  const double rank = std::ceil(percent / 100 * static_cast<double>(samples.size()));
  return samples[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

TEST(LatencyHistogram, PercentilesAreTheDefinitionsToOneInAThousand) {
  for (const int count : {1, 2, 3, 10, 99, 100, 101, 5000}) {
    SCOPED_TRACE(count);
    LatencyHistogram histogram;
    std::vector<double> samples;
    for (int i = 0; i < count; ++i) {
      const auto words = PhiloxAt(7, static_cast<uint64_t>(count), static_cast<uint64_t>(i));
      samples.push_back(1e-7 * std::exp(20 * UnitDouble(words[0], words[1])));  // 0.1 us to 48 s
      histogram.Add(samples.back());
    }
    for (const double percent : {0.0, 1.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0}) {
      const double exact = NearestRank(samples, percent);
      EXPECT_NEAR(histogram.Percentile(percent), exact, exact * 1e-3 + 1e-9) << percent;
    }
  }
}

TEST(LatencyHistogram, MeanAndGreatestAreExact) {
  LatencyHistogram histogram;
  for (const double seconds : {0.25, 0.5, 3.0}) histogram.Add(seconds);
  const LatencySummary summary = histogram.Summary();
  EXPECT_EQ(summary.count, 3);
  EXPECT_DOUBLE_EQ(summary.mean, 1.25);
  EXPECT_EQ(summary.max, 3.0);
  EXPECT_NEAR(summary.p50, 0.5, 5e-4);
}

TEST(LatencyHistogram, EmptySmallNegativeAndHugeHaveAPlace) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Percentile(99), 0);
  EXPECT_EQ(histogram.Summary().count, 0);
  histogram.Add(-1);
  EXPECT_EQ(histogram.Percentile(50), 0);
  histogram.Add(1e9);
  EXPECT_GT(histogram.Percentile(100), 200'000);  // the last bucket
  EXPECT_EQ(histogram.Summary().max, 1e9);
  EXPECT_EQ(histogram.count(), 2);
}

TEST(LatencyHistogram, NeighbouringBucketsMeet) {
  // Every value around the powers of two must fall into a bucket whose middle is near it.
  for (int bit = 0; bit < 47; ++bit) {
    for (const int64_t offset : {-2, -1, 0, 1, 2}) {
      const double nanoseconds = static_cast<double>((int64_t{1} << bit) + offset);
      if (nanoseconds < 1) continue;
      LatencyHistogram histogram;
      histogram.Add(nanoseconds * 1e-9);
      histogram.Add(1e6);  // so that the value is not the greatest, which is exact
      histogram.Add(0);
      EXPECT_NEAR(histogram.Percentile(50) * 1e9, nanoseconds, nanoseconds / 1024 + 1e-6) << nanoseconds;
    }
  }
}

}  // namespace
}  // namespace hadal
