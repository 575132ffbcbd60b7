// Linear on vectors: the loop nest, and how a format enters it. Included once per target.
//
// A tile is MR rows times NP panels of 16 outputs, its accumulators in registers. Each accumulator sees its inputs
// in ascending k, one at a time (or pair or four at a time where the instruction says so), so its bits do not depend
// on MR, NP, the rows beside it or the thread.
#pragma once

#include "kernels/cpu/decode.h"

namespace hadal {
namespace {

/// y rows of one tile; outputs beyond w.out are dropped.
HADAL_INLINE void StoreOutputs(const PanelWeight& w, F32x16 v, int64_t panel, float* y) {
  const int64_t first = panel * kPanel;
  if (first + kPanel <= w.out) {
    Store(v, y + first);
    return;
  }
  float lanes[kPanel];
  Store(v, lanes);
  for (int64_t i = first; i < w.out; ++i) y[i] = lanes[i - first];
}

/// Values times f32 inputs, no scale.
template <class Format>
struct PlainProduct {
  template <int MR, int NP>
  static HADAL_INLINE void Tile(const PanelWeight& w, const void* const* rows, int64_t panel, float* const* y) {
    F32x16 sum[MR][NP] = {};
    const std::byte* values[NP];
    for (int p = 0; p < NP; ++p) values[p] = w.panels + (panel + p) * w.panel_bytes;
    for (int64_t k = 0, at = 0; k < w.padded_in; k += Format::kStep, at += Format::kBytes) {
      for (int p = 0; p < NP; ++p) {
        F32x16 weight[Format::kStep];
        Format::Decode(values[p] + at, weight);
        for (int s = 0; s < Format::kStep; ++s)
          for (int r = 0; r < MR; ++r)
            sum[r][p] = Fma(Set1(static_cast<const float*>(rows[r])[k + s]), weight[s], sum[r][p]);
      }
    }
    for (int r = 0; r < MR; ++r)
      for (int p = 0; p < NP; ++p) StoreOutputs(w, sum[r][p], panel + p, y[r]);
  }
};

/// Values times f32 inputs, summed per block of inputs, the block's sum scaled into the total. The scale is the
/// weight's, times the row's own where the inputs are e4m3 codes.
template <class Format, bool kOneScalePerPanel>
struct ScaledProduct {
  template <int MR, int NP>
  static HADAL_INLINE void Tile(const PanelWeight& w, const void* const* rows, int64_t panel, float* const* y) {
    F32x16 total[MR][NP] = {};
    const int64_t block = kOneScalePerPanel ? kFp8Block : w.group;
    const bool row_scaled = w.input == InputFormat::kE4M3 || w.input == InputFormat::kE4M3Pow2;
    const int64_t row_scales = (w.padded_in * 4 + 63) / 64 * 64;
    for (int64_t b = 0; b < w.scale_count; ++b) {
      const int64_t begin = b * block, end = begin + block < w.padded_in ? begin + block : w.padded_in;
      F32x16 sum[MR][NP] = {};
      for (int p = 0; p < NP; ++p) {
        const std::byte* values = w.panels + (panel + p) * w.panel_bytes + begin / Format::kStep * Format::kBytes;
        for (int64_t k = begin; k < end; k += Format::kStep, values += Format::kBytes) {
          F32x16 weight[Format::kStep];
          Format::Decode(values, weight);
          for (int s = 0; s < Format::kStep; ++s)
            for (int r = 0; r < MR; ++r)
              sum[r][p] = Fma(Set1(static_cast<const float*>(rows[r])[k + s]), weight[s], sum[r][p]);
        }
      }
      for (int p = 0; p < NP; ++p) {
        F32x16 scale;
        if constexpr (kOneScalePerPanel)
          scale = Set1(static_cast<const float*>(w.scales)[(panel + p) * w.scale_count + b]);
        else
          scale = GroupScales(w, panel + p, b);
        for (int r = 0; r < MR; ++r) {
          F32x16 all = scale;
          if (row_scaled)
            all = scale * Set1(reinterpret_cast<const float*>(static_cast<const char*>(rows[r]) + row_scales)[b]);
          total[r][p] = Fma(sum[r][p], all, total[r][p]);
        }
      }
    }
    for (int r = 0; r < MR; ++r)
      for (int p = 0; p < NP; ++p) StoreOutputs(w, total[r][p], panel + p, y[r]);
  }
};

/// Runs Product's tiles over all rows and panels: NP panels at a time while they last, rows by four, two and one.
template <class Product, int NP>
void RunTiles(const PanelWeight& w, const void* const* rows, int64_t m, int64_t panel, float* const* y) {
  int64_t r = 0;
  for (; r + 4 <= m; r += 4) Product::template Tile<4, NP>(w, rows + r, panel, y + r);
  if (r + 2 <= m) {
    Product::template Tile<2, NP>(w, rows + r, panel, y + r);
    r += 2;
  }
  if (r < m) Product::template Tile<1, NP>(w, rows + r, panel, y + r);
}

template <class Product>
void RunLinear(const PanelWeight& w, const void* const* rows, int64_t m, int64_t first_panel, int64_t panel_count,
               float* const* y) {
  int64_t panel = first_panel;
  const int64_t end = first_panel + panel_count;
  if (m == 1) {
    for (; panel + 4 <= end; panel += 4) Product::template Tile<1, 4>(w, rows, panel, y);
  }
  for (; panel + 2 <= end; panel += 2) RunTiles<Product, 2>(w, rows, m, panel, y);
  if (panel < end) RunTiles<Product, 1>(w, rows, m, panel, y);
}

}  // namespace
}  // namespace hadal
