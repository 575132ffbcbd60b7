// Linear on vectors: tiles of f32 products, and how a format enters them. Included once per target.
//
// A tile is MR rows times NP panels of one strip, 16 outputs each, its accumulators in registers (linear_tiles.h says
// which). Each accumulator sees its inputs in ascending k, one at a time (or pair or four at a time where the
// instruction says so), so its bits do not depend on MR, NP, the rows beside it or the thread.
#pragma once

#include "kernels/cpu/decode.h"
#include "kernels/cpu/strip.h"

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
    StripWalk walk(w, panel, Format::kBytes);
    for (int64_t k = 0; k < w.padded_in; k += Format::kStep, walk.at += walk.step) {
      for (int p = 0; p < NP; ++p) {
        F32x16 weight[Format::kStep];
        Format::Decode(walk.at + p * Format::kBytes, weight);
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
    StripWalk walk(w, panel, Format::kBytes);
    for (int64_t b = 0; b < w.scale_count; ++b) {
      const int64_t begin = b * block, end = begin + block < w.padded_in ? begin + block : w.padded_in;
      F32x16 sum[MR][NP] = {};
      for (int64_t k = begin; k < end; k += Format::kStep, walk.at += walk.step) {
        for (int p = 0; p < NP; ++p) {
          F32x16 weight[Format::kStep];
          Format::Decode(walk.at + p * Format::kBytes, weight);
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
          scale = walk.Scales(w, p);
        for (int r = 0; r < MR; ++r) {
          F32x16 all = scale;
          if (row_scaled)
            all = scale * Set1(reinterpret_cast<const float*>(static_cast<const char*>(rows[r]) + row_scales)[b]);
          total[r][p] = Fma(sum[r][p], all, total[r][p]);
        }
      }
      if constexpr (!kOneScalePerPanel) walk.SkipScales();
    }
    for (int r = 0; r < MR; ++r)
      for (int p = 0; p < NP; ++p) StoreOutputs(w, total[r][p], panel + p, y[r]);
  }
};

}  // namespace
}  // namespace hadal
