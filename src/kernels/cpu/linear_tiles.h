// Which tiles a Linear is cut into. Included once per target.
//
// A tile of MR rows and NP panels keeps MR x NP sums in registers and takes, each step, NP vectors of weights and MR
// numbers of rows through MR x NP multiply-adds. Its shape on AVX-512, by what a Zen 5 does (32 registers; two loads
// and two multiply-adds or dot products a cycle; a result after 4 cycles, of a bf16 dot product after 6):
//
//   registers   sums, twice where each group has sums of its own, + NP + 1 <= 32
//   waiting     sums >= 8, of bf16 dot products 12, or a step waits for the one before
//   loads       NP + MR <= MR x NP, better half
//
// The four panels of a strip at once read memory as one stream, so few rows take 6 x 4 tiles where sums are all
// there is and 4 x 4 where they are doubled (12 of the 16 totals fit, four rest on the stack). Many rows of formats
// that are long to unpack or to load (FP8, INT8) are bound by that and not by memory: by two panels, six rows share
// what is unpacked.
//
// Rows are dealt to tiles evenly: seven are four and three, not six and one, since a tile of one row waits.
#pragma once

#include "kernels/cpu/linear_dot.h"

namespace hadal {
namespace {

/// The largest tiles of a product.
struct TileShapes {
  int strip_rows;  // with the four panels of a strip
  int pair_rows;   // with two panels, or one
  int64_t strips_up_to;  // more rows than these take their panels by two
};

constexpr int64_t kAnyNumber = INT64_MAX;
#if defined(__AVX512F__)
template <class Product>
constexpr TileShapes kTileShapes{4, 4, kAnyNumber};
template <class Format>
constexpr TileShapes kTileShapes<PlainProduct<Format>>{6, 6, kAnyNumber};
#if defined(__AVX512BF16__)
template <>
constexpr TileShapes kTileShapes<BF16Dot>{6, 6, kAnyNumber};
template <>
constexpr TileShapes kTileShapes<Fp8Dot>{4, 6, 8};
template <>
constexpr TileShapes kTileShapes<IntDot<Int8Four>>{4, 6, 8};
#endif
#else
// 16 registers, four of them a sum or two: whole strips for one row alone.
template <class Product>
constexpr TileShapes kTileShapes{1, 4, 1};
#endif

/// The tile for `count` of 1 .. MR rows.
template <class Product, int NP, int MR>
HADAL_INLINE void RunTile(int64_t count, const PanelWeight& w, const void* const* rows, int64_t panel,
                          float* const* y) {
  if (count == MR) return Product::template Tile<MR, NP>(w, rows, panel, y);
  if constexpr (MR > 1) RunTile<Product, NP, MR - 1>(count, w, rows, panel, y);
}

/// All rows over NP panels of one strip. Not inlined: a tile needs the registers for itself.
template <class Product, int NP, int MR>
__attribute__((noinline)) void RunTiles(const PanelWeight& w, const void* const* rows, int64_t m, int64_t panel,
                                        float* const* y) {
  const int64_t tiles = (m + MR - 1) / MR;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = m * i / tiles, count = m * (i + 1) / tiles - first;
    RunTile<Product, NP, MR>(count, w, rows + first, panel, y + first);
  }
}

/// Strip by strip.
template <class Product>
void RunLinear(const PanelWeight& w, const void* const* rows, int64_t m, int64_t first_panel, int64_t panel_count,
               float* const* y) {
  constexpr TileShapes kShapes = kTileShapes<Product>;
  const int64_t end = first_panel + panel_count;
  for (int64_t panel = first_panel; panel < end;) {
    const int64_t strip_end = (panel / kStrip + 1) * kStrip, stop = strip_end < end ? strip_end : end;
    if (stop - panel == kStrip && m <= kShapes.strips_up_to) {
      RunTiles<Product, kStrip, kShapes.strip_rows>(w, rows, m, panel, y);
      panel = stop;
    }
    for (; panel + 2 <= stop; panel += 2) RunTiles<Product, 2, kShapes.pair_rows>(w, rows, m, panel, y);
    if (panel < stop) RunTiles<Product, 1, kShapes.pair_rows>(w, rows, m, panel++, y);
  }
}

}  // namespace
}  // namespace hadal
