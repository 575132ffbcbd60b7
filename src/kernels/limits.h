// What this machine can do at most, measured: the figures that benchmarks give their shares of.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "tensor/buffer.h"

namespace hadal {

/// 1e9 bytes or operations a second, by all threads together; a multiplication and an addition are two
/// operations.
struct MachineLimits {
  double read_gbps = 0;    // memory streamed once, without reuse
  double f32_gflops = 0;   // fused multiply-add in registers
  double bf16_gflops = 0;  // bf16 pairs into f32; 0 where the processor has no such instruction
  double int8_gops = 0;    // int8 fours into int32; 0 where the processor has no such instruction
};

/// Of a non-empty set of measurements.
MachineLimits MeanOf(std::span<const MachineLimits> samples);

/// Measures them with the best instruction set of the machine.
class LimitProbe {
 public:
  /// The buffer that Create takes where memory allows: 1 GiB, and at least 8 times the last-level cache.
  static uint64_t PreferredBytes();

  /// Memory of `bytes` (rounded up to MiB) is taken and touched, so that it is resident from here on. The
  /// read bandwidth is the memory's only if `bytes` is well above the last-level cache. `pool` must outlive
  /// the probe.
  static Result<LimitProbe> Create(ThreadPool& pool, uint64_t bytes);

  uint64_t bytes() const { return buffer_.size(); }

  /// The medians of several passes, about half a second in all: what the neighbours leave now, not the best
  /// ever.
  MachineLimits Measure() const;

 private:
  explicit LimitProbe(ThreadPool& pool) : pool_(&pool) {}
  ThreadPool* pool_;
  ByteBuffer buffer_;
};

/// 1e9 bytes a second at which all threads together read `buffers` once, front to back, for about `limit` (at
/// least one piece of 64 MiB, or all if they are less): a short look at memory that is resident anyway, such as
/// weights. The memory's bandwidth only if the buffers are well above the last-level cache. 0 without bytes.
double MeasureReadGbps(ThreadPool& pool, std::span<const ByteBuffer> buffers, std::chrono::milliseconds limit);

}  // namespace hadal
