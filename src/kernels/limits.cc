#include "kernels/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/cpu_info.h"
#include "kernels/cpu/peaks_targets.h"

namespace hadal {
namespace {

constexpr int64_t kChunk = int64_t{1} << 20;  // bytes a thread takes at a time
constexpr int kPasses = 7;
constexpr size_t kPiece = 64;  // chunks between two looks at the clock
// Rounds of a unit of arithmetic, about a millisecond: long against a fork, short against a scheduler's
// slice.
constexpr int64_t kRounds = 1 << 18;
constexpr int64_t kUnitsPerThread = 8;

const PeakKernels& BestPeaks() {
#if defined(__x86_64__)
  if (BestIsa() == Isa::kAvx512) return cpu_avx512::Peaks();
  if (BestIsa() == Isa::kAvx2) return cpu_avx2::Peaks();
#endif
  return cpu_generic::Peaks();
}

/// The median over passes of what `pass` returns (an amount) per second, in 1e9. The first pass warms up.
template <typename Pass>
double MedianRate(Pass&& pass) {
  double rates[kPasses];
  pass();
  for (double& rate : rates) {
    const auto start = std::chrono::steady_clock::now();
    const int64_t amount = pass();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    rate = static_cast<double>(amount) / seconds.count() / 1e9;
  }
  std::nth_element(rates, rates + kPasses / 2, rates + kPasses);
  return rates[kPasses / 2];
}

double ArithmeticRate(ThreadPool& pool, int64_t (*run)(int64_t rounds)) {
  if (run == nullptr) return 0;
  return MedianRate([&] {
    std::atomic<int64_t> operations = 0;
    pool.For(pool.threads() * kUnitsPerThread, [&](int64_t, int) { operations += run(kRounds); });
    return operations.load();
  });
}

}  // namespace

MachineLimits MeanOf(std::span<const MachineLimits> samples) {
  MachineLimits mean;
  const double share = 1.0 / static_cast<double>(samples.size());
  for (const MachineLimits& s : samples) {
    mean.read_gbps += s.read_gbps * share;
    mean.f32_gflops += s.f32_gflops * share;
    mean.bf16_gflops += s.bf16_gflops * share;
    mean.int8_gops += s.int8_gops * share;
  }
  return mean;
}

uint64_t LimitProbe::PreferredBytes() { return std::max(uint64_t{1} << 30, 8 * LastLevelCacheBytes()); }

Result<LimitProbe> LimitProbe::Create(ThreadPool& pool, uint64_t bytes) {
  LimitProbe probe(pool);
  const uint64_t chunks = std::max<uint64_t>(1, (bytes + kChunk - 1) / kChunk);
  ASSIGN_OR_RETURN(probe.buffer_, ByteBuffer::Allocate(chunks * kChunk, "measuring the memory's bandwidth"));
  pool.For(static_cast<int64_t>(chunks),
           [&](int64_t i, int) { std::memset(probe.buffer_.data() + i * kChunk, 1, kChunk); });
  return probe;
}

MachineLimits LimitProbe::Measure() const {
  const PeakKernels& peaks = BestPeaks();
  MachineLimits limits;
  limits.read_gbps = MedianRate([&] {
    std::atomic<uint64_t> sum = 0;
    pool_->For(static_cast<int64_t>(buffer_.size()) / kChunk,
               [&](int64_t i, int) { sum ^= peaks.read(buffer_.data() + i * kChunk, kChunk); });
    return static_cast<int64_t>(buffer_.size());
  });
  limits.f32_gflops = ArithmeticRate(*pool_, peaks.f32);
  limits.bf16_gflops = ArithmeticRate(*pool_, peaks.bf16);
  limits.int8_gops = ArithmeticRate(*pool_, peaks.int8);
  return limits;
}

double MeasureReadGbps(ThreadPool& pool, std::span<const ByteBuffer> buffers,
                       std::chrono::milliseconds limit) {
  const PeakKernels& peaks = BestPeaks();
  std::vector<std::span<const std::byte>> chunks;
  for (const ByteBuffer& buffer : buffers)
    for (uint64_t at = 0; at < buffer.size(); at += kChunk)
      chunks.push_back({buffer.data() + at, std::min<uint64_t>(kChunk, buffer.size() - at) / 512 * 512});
  std::atomic<uint64_t> sum = 0, bytes = 0;
  const auto start = std::chrono::steady_clock::now();
  std::chrono::duration<double> seconds{};
  for (size_t first = 0; first < chunks.size() && seconds < limit; first += kPiece) {
    const size_t count = std::min(kPiece, chunks.size() - first);
    pool.For(static_cast<int64_t>(count), [&](int64_t i, int) {
      const auto& chunk = chunks[first + static_cast<size_t>(i)];
      sum ^= peaks.read(chunk.data(), static_cast<int64_t>(chunk.size()));
      bytes += chunk.size();
    });
    seconds = std::chrono::steady_clock::now() - start;
  }
  return bytes == 0 ? 0 : static_cast<double>(bytes) / seconds.count() / 1e9;
}

}  // namespace hadal
