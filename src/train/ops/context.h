// What an op of training needs besides its operands: kernels, threads, scratch, and how products are
// computed. Passed, never global.
#pragma once

#include "kernels/gemm.h"
#include "train/ops/part_clock.h"
#include "train/ops/rows.h"

namespace hadal::train {

/// Largest operands that ops will see; scratch is allocated from these once, and ops allocate nothing.
struct ScratchLimits {
  int64_t rows = 0;                       // tokens of a micro-batch
  int64_t nope = 0, rope = 0, value = 0;  // of an attention head
  bool f64 = false;                       // ops run in double
};

/// Memory that ops use while they run; one op at a time.
class OpScratch {
 public:
  static Result<OpScratch> Create(const ScratchLimits& limits, int threads);
  /// The bytes Create allocates.
  static uint64_t PlannedBytes(const ScratchLimits& limits, int threads);

  const ScratchLimits& limits() const { return limits_; }
  /// 64-byte aligned memory of one worker, of worker_bytes().
  std::byte* worker(int index) const { return bytes_.data() + index * worker_bytes_; }
  int64_t worker_bytes() const { return worker_bytes_; }

 private:
  OpScratch() = default;
  ScratchLimits limits_;
  ByteBuffer bytes_;
  int64_t worker_bytes_ = 0;
};

/// A handle, cheap to copy; what it refers to must outlive it. Ops of one context run one at a time, each on
/// all threads of the pool, with the same bits for any number of them.
struct OpContext {
  GemmContext* gemm;
  OpScratch* scratch;
  const RowTable* rows;
  Compute compute;  // of products: kF64 for double; kF32, kBF16 or kF16 for float
  PartClock* clock = nullptr;

  ThreadPool& pool() const { return gemm->pool(); }
  /// The same with products of unrounded factors, as the router has them.
  OpContext Exact() const {
    OpContext exact = *this;
    if (exact.compute != Compute::kF64) exact.compute = Compute::kF32;
    return exact;
  }
};

/// body(t) for rows t in [0, rows), on the pool where there is enough to do. Rows must be independent.
template <typename Body>
void ForRows(const OpContext& ctx, int64_t rows, int64_t width, Body&& body) {
  constexpr int64_t kUnitElements = 1 << 14;  // below this a loop is not worth a fork
  const int64_t unit = width >= kUnitElements ? 1 : kUnitElements / (width > 0 ? width : 1);
  ctx.pool().For((rows + unit - 1) / unit, [&](int64_t u, int) {
    const int64_t end = u * unit + unit < rows ? u * unit + unit : rows;
    for (int64_t t = u * unit; t < end; ++t) body(t);
  });
}

}  // namespace hadal::train
