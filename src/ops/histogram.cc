#include "ops/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace hadal {
namespace {

// A value of more than kBits bits keeps its first kBits: 2048 to 4095 has buckets of 2, 4096 to 8191 of 4,
// ...
constexpr int kBits = 11;
constexpr uint64_t kHalf = uint64_t{1} << (kBits - 1);
constexpr uint64_t kMostNanoseconds = (uint64_t{1} << 48) - 1;

size_t BucketOf(uint64_t nanoseconds) {
  const int shift = std::max(static_cast<int>(std::bit_width(nanoseconds)) - kBits, 0);
  return static_cast<size_t>(static_cast<uint64_t>(shift) * kHalf + (nanoseconds >> shift));
}

/// The middle of a bucket.
double SecondsOf(size_t bucket) {
  const uint64_t shift = bucket < 2 * kHalf ? 0 : bucket / kHalf - 1;
  const double first = static_cast<double>((bucket - shift * kHalf) << shift);
  return (first + (static_cast<double>(uint64_t{1} << shift) - 1) / 2) * 1e-9;
}

}  // namespace

LatencyHistogram::LatencyHistogram() : buckets_(BucketOf(kMostNanoseconds) + 1) {}

void LatencyHistogram::Add(double seconds) {
  seconds = std::max(seconds, 0.0);
  const double nanoseconds = std::min(seconds * 1e9, static_cast<double>(kMostNanoseconds));
  ++buckets_[BucketOf(static_cast<uint64_t>(std::llround(nanoseconds)))];
  min_ = count_ == 0 ? seconds : std::min(min_, seconds);
  max_ = std::max(max_, seconds);
  sum_ += seconds;
  ++count_;
}

double LatencyHistogram::Percentile(double percent) const {
  if (count_ == 0) return 0;
  const double rank = std::ceil(percent / 100 * static_cast<double>(count_));
  const uint64_t wanted = static_cast<uint64_t>(std::clamp(rank, 1.0, static_cast<double>(count_)));
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return std::clamp(SecondsOf(i), min_, max_);
  }
  return max_;
}

LatencySummary LatencyHistogram::Summary() const {
  if (count_ == 0) return {};
  return {.count = count_,
          .mean = sum_ / static_cast<double>(count_),
          .p50 = Percentile(50),
          .p90 = Percentile(90),
          .p95 = Percentile(95),
          .p99 = Percentile(99),
          .max = max_};
}

}  // namespace hadal
