// Matrix products of one target: HADAL_TARGET names its namespace. Included by gemm_*.cc alone.
#pragma once

#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_targets.h"

namespace hadal::HADAL_TARGET {
namespace {

// A tile of sums is kTileRows x kTileVectors vectors of 64 bytes. It fills the registers but for one row of B
// and one broadcast: 24 of 32 (AVX-512), 12 of 16 (AVX2, two registers a vector), 12 of 16 or 32 (SSE2, NEON:
// four).
#if defined(__AVX512F__)
constexpr int kTileRows = 12, kTileVectors = 2;
#elif defined(__AVX2__)
constexpr int kTileRows = 6, kTileVectors = 1;
#else
constexpr int kTileRows = 3, kTileVectors = 1;
#endif

/// A tile of whole vectors goes where it belongs. Unrolled: the sums must not leave their registers before.
template <typename Format, int kRows, bool kAccumulate>
HADAL_INLINE void WriteTile(const typename Format::Vector (&sum)[kRows][kTileVectors],
                            typename Format::Source* c, int64_t stride) {
  using Vector = typename Format::Vector;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      typename Format::Source* target = c + i * stride + v * Format::kLanes;
      Vector next = sum[i][v];
      if constexpr (kAccumulate) {
        Vector old;
        __builtin_memcpy(&old, target, sizeof(Vector));
        next = old + next;
      }
      __builtin_memcpy(target, &next, sizeof(Vector));
    }
  }
}

/// c [kRows, cols] (+)= one panel of A times one of B.
template <typename Format, int kRows>
HADAL_INLINE void Tile(const PackedProduct<typename Format::Source>& p, const typename Format::Element* a,
                       const typename Format::Element* b, typename Format::Source* c, int64_t cols) {
  using Vector = typename Format::Vector;
  constexpr int64_t kPanelA = kTileRows * Format::kStep;
  constexpr int64_t kPanelB = kTileVectors * Format::kLanes * Format::kStep;
  constexpr int64_t kVector = Format::kLanes * Format::kStep;
  constexpr int64_t kCols = kTileVectors * Format::kLanes;
  Vector sum[kRows][kTileVectors] = {};
  const int64_t units = (p.depth + Format::kStep - 1) / Format::kStep;
  for (int64_t k = 0; k < units; ++k) {
    Vector row[kTileVectors];
    for (int v = 0; v < kTileVectors; ++v)
      __builtin_memcpy(&row[v], b + k * kPanelB + v * kVector, sizeof(Vector));
    for (int i = 0; i < kRows; ++i) {
      const Vector unit = Format::Broadcast(a + k * kPanelA + i * Format::kStep);
      for (int v = 0; v < kTileVectors; ++v) sum[i][v] = Format::MultiplyAdd(unit, row[v], sum[i][v]);
    }
  }
  if (cols >= kCols)
    return p.accumulate ? WriteTile<Format, kRows, true>(sum, c, p.c_stride)
                        : WriteTile<Format, kRows, false>(sum, c, p.c_stride);
  typename Format::Source whole[kRows * kCols];
  WriteTile<Format, kRows, false>(sum, whole, kCols);
  for (int i = 0; i < kRows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      c[i * p.c_stride + j] =
          p.accumulate ? c[i * p.c_stride + j] + whole[i * kCols + j] : whole[i * kCols + j];
}

/// The tile for `rows` of 1 .. kRows.
template <typename Format, int kRows>
HADAL_INLINE void TileOf(int64_t rows, const PackedProduct<typename Format::Source>& p,
                         const typename Format::Element* a, const typename Format::Element* b,
                         typename Format::Source* c, int64_t cols) {
  if (rows == kRows) return Tile<Format, kRows>(p, a, b, c, cols);
  if constexpr (kRows > 1) TileOf<Format, kRows - 1>(rows, p, a, b, c, cols);
}

/// A panel of B stays in the nearest cache while the panels of A pass.
template <typename Format>
void Multiply(const PackedProduct<typename Format::Source>& p) {
  using Element = typename Format::Element;
  constexpr int64_t kCols = kTileVectors * Format::kLanes;
  for (int64_t j = 0; j < p.n; j += kCols) {
    const Element* b = reinterpret_cast<const Element*>(p.b + j / kCols * p.b_panel_bytes);
    for (int64_t i = 0; i < p.m; i += kTileRows) {
      const Element* a = reinterpret_cast<const Element*>(p.a + i / kTileRows * p.a_panel_bytes);
      const int64_t rows = p.m - i < kTileRows ? p.m - i : kTileRows;
      TileOf<Format, kTileRows>(rows, p, a, b, p.c + i * p.c_stride + j, p.n - j);
    }
  }
}

template <typename Format>
constexpr GemmFormat<typename Format::Source> Describe() {
  constexpr int kCols = kTileVectors * Format::kLanes;
  return {.mr = kTileRows,
          .nr = kCols,
          .depth_step = Format::kStep,
          .element_bytes = sizeof(typename Format::Element),
          .pack_a = PackPanels<Format, kTileRows>,
          .pack_b = PackPanels<Format, kCols>,
          .multiply = Multiply<Format>};
}

}  // namespace

const GemmTable& Gemms() {
#if defined(__AVX512BF16__)
  using BF16 = PairFormat;
#else
  using BF16 = FloatFormat<RoundToBF16>;
#endif
  static constexpr GemmTable kTable{.name = HADAL_TARGET_NAME,
                                    .f64 = Describe<DoubleFormat>(),
                                    .f32 = Describe<FloatFormat<Unrounded>>(),
                                    .bf16 = Describe<BF16>(),
                                    .f16 = Describe<FloatFormat<RoundToF16>>()};
  return kTable;
}

}  // namespace hadal::HADAL_TARGET
