#include "kernels/gemm.h"

#include <algorithm>

#include "base/check.h"
#include "base/rounding.h"

namespace hadal {
namespace {

// A lane's packed piece of the summed index: 512 bf16, 256 f32, 128 f64. 32 lanes of it, a panel of B, are 32
// KiB and stay in the nearest cache.
constexpr int64_t kDepthBytes = 1024;
// Lanes of A and of B that are packed at once: by all threads together (2 MiB each), or by one worker alone.
constexpr int64_t kSharedLanes = 2048;
constexpr int64_t kWorkerLanesA = 192, kWorkerLanesB = 512;
// What one thread multiplies at a time, about 60 us: 96 KiB of packed rows pass by 256 KiB of packed columns,
// which stay in the second cache.
constexpr int64_t kUnitRows = 96, kUnitCols = 256;
constexpr int64_t kUnitPack = 96;  // lanes one thread packs at a time

int64_t Pieces(int64_t x, int64_t of) { return (x + of - 1) / of; }

/// Lanes that scratch must hold: panels are whole.
template <typename T>
int64_t WholeLanes(const GemmFormat<T>& f, int64_t a, int64_t b) {
  return RoundUp(a, f.mr) + RoundUp(b, f.nr);
}

uint64_t ScratchBytes(const GemmTable& t, int64_t a, int64_t b) {
  const int64_t lanes = std::max(
      {WholeLanes(t.f64, a, b), WholeLanes(t.f32, a, b), WholeLanes(t.bf16, a, b), WholeLanes(t.f16, a, b)});
  return static_cast<uint64_t>(RoundUp(lanes * kDepthBytes, 64));
}

/// Rows [i, i + m) of op(a), positions [k, k + depth).
template <typename T>
PackSource<T> SourceA(const Factor<T>& f, int64_t i, int64_t m, int64_t k, int64_t depth) {
  const T* data = f.transposed ? f.m.data + k * f.m.stride + i : f.m.data + i * f.m.stride + k;
  return {data, f.m.stride, m, depth, !f.transposed};
}
/// Columns [j, j + n) of op(b), positions [k, k + depth).
template <typename T>
PackSource<T> SourceB(const Factor<T>& f, int64_t j, int64_t n, int64_t k, int64_t depth) {
  const T* data = f.transposed ? f.m.data + j * f.m.stride + k : f.m.data + k * f.m.stride + j;
  return {data, f.m.stride, n, depth, f.transposed};
}

/// A product cut into blocks that fit scratch; each block is packed, then multiplied unit by unit.
template <typename T>
struct Blocked {
  const GemmFormat<T>& format;
  GemmJob<T> job;
  bool accumulate;
  int64_t lanes_a, lanes_b;  // of a block at most
  std::byte* packed_a;
  std::byte* packed_b;

  struct Block {
    int64_t i, m, j, n, k, depth;
  };

  /// The blocks, k ascending for each element of c. `loop(count, body)` runs body(unit) for all units, in any
  /// order.
  template <typename Loop>
  void Run(Loop&& loop) const {
    const int64_t m = job.c.rows, n = job.c.cols, depth = job.a.cols();
    const int64_t depth_block = kDepthBytes / format.element_bytes;
    for (int64_t j = 0; j < n; j += lanes_b)
      for (int64_t k = 0; k < depth; k += depth_block)
        for (int64_t i = 0; i < m; i += lanes_a)
          RunBlock(
              {i, std::min(lanes_a, m - i), j, std::min(lanes_b, n - j), k, std::min(depth_block, depth - k)},
              loop);
  }

  template <typename Loop>
  void RunBlock(const Block& block, Loop&& loop) const {
    const int64_t units_a = Pieces(block.m, RoundUp(kUnitPack, format.mr));
    const int64_t units_b =
        block.i == 0 ? Pieces(block.n, RoundUp(kUnitPack, format.nr)) : 0;  // else still packed
    loop(units_a + units_b, [&](int64_t u) { u < units_a ? PackA(block, u) : PackB(block, u - units_a); });
    const int64_t rows = Pieces(block.m, RoundUp(kUnitRows, format.mr));
    const int64_t cols = Pieces(block.n, RoundUp(kUnitCols, format.nr));
    loop(rows * cols, [&](int64_t u) { Multiply(block, u % rows, u / rows); });
  }

  void PackA(const Block& block, int64_t unit) const {
    const int64_t lanes = RoundUp(kUnitPack, format.mr), first = unit * lanes;
    const int64_t bytes = PanelBytesA(format, block.depth);
    format.pack_a(SourceA(job.a, block.i + first, std::min(lanes, block.m - first), block.k, block.depth),
                  bytes, packed_a + first / format.mr * bytes);
  }
  void PackB(const Block& block, int64_t unit) const {
    const int64_t lanes = RoundUp(kUnitPack, format.nr), first = unit * lanes;
    const int64_t bytes = PanelBytesB(format, block.depth);
    format.pack_b(SourceB(job.b, block.j + first, std::min(lanes, block.n - first), block.k, block.depth),
                  bytes, packed_b + first / format.nr * bytes);
  }
  void Multiply(const Block& block, int64_t row_unit, int64_t col_unit) const {
    const int64_t i = row_unit * RoundUp(kUnitRows, format.mr), j = col_unit * RoundUp(kUnitCols, format.nr);
    PackedProduct<T> p;
    p.a_panel_bytes = PanelBytesA(format, block.depth);
    p.b_panel_bytes = PanelBytesB(format, block.depth);
    p.a = packed_a + i / format.mr * p.a_panel_bytes;
    p.b = packed_b + j / format.nr * p.b_panel_bytes;
    p.m = std::min(RoundUp(kUnitRows, format.mr), block.m - i);
    p.n = std::min(RoundUp(kUnitCols, format.nr), block.n - j);
    p.depth = block.depth;
    p.c = job.c.row(block.i + i) + block.j + j;
    p.c_stride = job.c.stride;
    p.accumulate = accumulate || block.k > 0;
    format.multiply(p);
  }
};

template <typename T>
void CheckShapes(const GemmJob<T>& job) {
  HADAL_CHECK(job.a.cols() == job.b.rows() && job.c.rows == job.a.rows() && job.c.cols == job.b.cols(),
              "[{}, {}] = [{}, {}] * [{}, {}]", job.c.rows, job.c.cols, job.a.rows(), job.a.cols(),
              job.b.rows(), job.b.cols());
}

/// True if there is nothing to sum: c is then zero, or what it was.
template <typename T>
bool Empty(const GemmJob<T>& job, bool accumulate) {
  if (job.a.cols() > 0) return job.c.rows == 0 || job.c.cols == 0;
  for (int64_t i = 0; i < job.c.rows && !accumulate; ++i) std::fill_n(job.c.row(i), job.c.cols, T{0});
  return true;
}

template <typename T>
void RunShared(GemmContext& context, const GemmFormat<T>& format, const GemmJob<T>& job, bool accumulate) {
  std::byte* b = context.shared() + RoundUp(kSharedLanes, format.mr) * kDepthBytes;
  const Blocked<T> blocked{format,           job, accumulate, RoundUp(kSharedLanes, format.mr), kSharedLanes,
                           context.shared(), b};
  blocked.Run(
      [&](int64_t count, auto&& body) { context.pool().For(count, [&](int64_t u, int) { body(u); }); });
}

}  // namespace

uint64_t GemmContext::PlannedBytes(const GemmTable& kernels, int threads) {
  return ScratchBytes(kernels, kSharedLanes, kSharedLanes) +
         static_cast<uint64_t>(threads) * ScratchBytes(kernels, kWorkerLanesA, kWorkerLanesB);
}

Result<GemmContext> GemmContext::Create(const GemmTable& kernels, ThreadPool& pool) {
  GemmContext context;
  context.pool_ = &pool;
  context.kernels_ = &kernels;
  ASSIGN_OR_RETURN(context.scratch_, ByteBuffer::Allocate(PlannedBytes(kernels, pool.threads()),
                                                          "packed blocks of matrix products"));
  return context;
}

std::byte* GemmContext::worker(int index) const {
  return shared() + ScratchBytes(*kernels_, kSharedLanes, kSharedLanes) +
         static_cast<uint64_t>(index) * ScratchBytes(*kernels_, kWorkerLanesA, kWorkerLanesB);
}

template <typename T>
void Gemm(GemmContext& context, Compute compute, Factor<T> a, Factor<T> b, View<T> c, bool accumulate) {
  const GemmJob<T> job{a, b, c};
  CheckShapes(job);
  if (!Empty(job, accumulate)) RunShared(context, FormatOf<T>(context.kernels(), compute), job, accumulate);
}

template <typename T>
void Gemms(GemmContext& context, Compute compute, std::span<const GemmJob<T>> jobs, bool accumulate) {
  const int64_t count = static_cast<int64_t>(jobs.size());
  if (count < 2 * context.pool().threads()) {
    for (const GemmJob<T>& job : jobs) Gemm(context, compute, job.a, job.b, job.c, accumulate);
    return;
  }
  for (const GemmJob<T>& job : jobs) CheckShapes(job);
  const GemmFormat<T>& format = FormatOf<T>(context.kernels(), compute);
  context.pool().For(count, [&](int64_t index, int worker) {
    const GemmJob<T>& job = jobs[static_cast<size_t>(index)];
    if (Empty(job, accumulate)) return;
    std::byte* a = context.worker(worker);
    std::byte* b = a + RoundUp(kWorkerLanesA, format.mr) * kDepthBytes;
    const Blocked<T> blocked{format, job, accumulate, RoundUp(kWorkerLanesA, format.mr), kWorkerLanesB, a, b};
    blocked.Run([](int64_t units, auto&& body) {
      for (int64_t u = 0; u < units; ++u) body(u);
    });
  });
}

template void Gemm(GemmContext&, Compute, Factor<float>, Factor<float>, View<float>, bool);
template void Gemm(GemmContext&, Compute, Factor<double>, Factor<double>, View<double>, bool);
template void Gemms(GemmContext&, Compute, std::span<const GemmJob<float>>, bool);
template void Gemms(GemmContext&, Compute, std::span<const GemmJob<double>>, bool);

}  // namespace hadal
