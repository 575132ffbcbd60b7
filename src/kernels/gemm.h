// Products of two matrices that both change from step to step, as training needs them (weights that stay are
// packed once instead: linear_weight.h).
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/gemm_table.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace hadal {

/// A factor of a product: the matrix `m`, or its transpose. Rows are contiguous either way.
template <typename T>
struct Factor {
  View<const T> m;
  bool transposed = false;

  int64_t rows() const { return transposed ? m.cols : m.rows; }
  int64_t cols() const { return transposed ? m.rows : m.cols; }
};

/// One product among several that run together: see Gemm.
template <typename T>
struct GemmJob {
  Factor<T> a;  // [M, K]
  Factor<T> b;  // [K, N]
  View<T> c;    // [M, N]
};

/// Kernels, threads and packing scratch of a few MiB, whatever the sizes of the factors. One product (or one
/// group) at a time per context.
class GemmContext {
 public:
  /// `kernels` and `pool` must outlive the context.
  static Result<GemmContext> Create(const GemmTable& kernels, ThreadPool& pool);
  /// The bytes Create allocates.
  static uint64_t PlannedBytes(const GemmTable& kernels, int threads);

  ThreadPool& pool() const { return *pool_; }
  const GemmTable& kernels() const { return *kernels_; }

  /// Packed blocks of one product that all threads work on.
  std::byte* shared() const { return scratch_.data(); }
  /// Packed blocks of a product that one worker computes alone.
  std::byte* worker(int index) const;

 private:
  GemmContext() = default;
  ThreadPool* pool_ = nullptr;
  const GemmTable* kernels_ = nullptr;
  ByteBuffer scratch_;
};

/// c [M, N] = (accumulate ? c : 0) + op(a) [M, K] * op(b) [K, N].
///
/// T is double with Compute::kF64, or float with one of the others: kF32 multiplies what is there; kBF16 and
/// kF16 round both factors (to nearest even) first. Sums are f32 (f64 for kF64), k ascending in blocks of a
/// fixed length; an element's bits depend on its row of a and its column of b alone, not on M, N, the threads
/// or the call it comes from. (BF16 on AVX-512 adds products in pairs and takes denormals as zero.) c must
/// not overlap a or b. K may be 0. Shapes that do not match are bugs (CHECK). No allocation.
template <typename T>
void Gemm(GemmContext& context, Compute compute, Factor<T> a, Factor<T> b, View<T> c, bool accumulate);

/// All jobs, one per thread at a time: for many small products (experts), with the same bits as Gemm gives.
/// The jobs' c must not overlap. Where there are fewer jobs than threads could share, they run one after
/// another as by Gemm.
template <typename T>
void Gemms(GemmContext& context, Compute compute, std::span<const GemmJob<T>> jobs, bool accumulate);

}  // namespace hadal
