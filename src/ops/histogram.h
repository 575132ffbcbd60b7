// Durations counted in buckets of one part in a thousand: percentiles of any number of samples in fixed
// memory.
#pragma once

#include <cstdint>
#include <vector>

namespace hadal {

/// What a table says of a set of durations, in seconds; all 0 for an empty set.
struct LatencySummary {
  int64_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

/// Buckets of 1 ns up to 2 us and of at most 1/1024 of the value beyond, up to 78 hours; 320 KB. Mean, least
/// and greatest are exact.
class LatencyHistogram {
 public:
  LatencyHistogram();

  /// What is below zero counts as zero, what is beyond the last bucket as the last bucket.
  void Add(double seconds);

  int64_t count() const { return count_; }
  /// The least value that at least `percent` of the samples do not exceed (nearest rank), within a bucket; 0
  /// without samples.
  double Percentile(double percent) const;
  LatencySummary Summary() const;

 private:
  std::vector<uint64_t> buckets_;
  int64_t count_ = 0;
  double sum_ = 0, min_ = 0, max_ = 0;  // seconds
};

}  // namespace hadal
