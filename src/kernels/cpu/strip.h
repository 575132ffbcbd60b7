// A tile's way through a strip of interleaved panels (linear_weight.h draws it). Included once per target.
#pragma once

#include "kernels/cpu/simd.h"
#include "kernels/kernel_table.h"

namespace hadal {
namespace {

/// How far ahead in a strip's stream its bytes are asked for. Decoding FP8 and INT4 leaves the processor too few
/// loads in flight to run ahead by itself. Of 2 to 16 KiB, 8 was best (Zen 5: 98 % of the bandwidth of plain reads
/// against 85 without). Past the end of a weight it does no harm.
constexpr int64_t kPrefetchBytes = 8192;

/// Walks the units of the panels [panel, …) of one strip, from the first input on.
struct StripWalk {
  const std::byte* at;   // the first panel's unit
  int64_t step;          // bytes from its unit to its next one
  int64_t scale_bytes;   // INT8, INT4: of a group's scales of all the strip's panels, padded to 64
  int64_t first;         // the first panel's place in the strip

  HADAL_INLINE StripWalk(const PanelWeight& w, int64_t panel, int64_t unit_bytes) {
    const int64_t strip = panel / kStrip, left = (w.out + kPanel - 1) / kPanel - strip * kStrip;
    const int64_t panels = left < kStrip ? left : kStrip;
    first = panel % kStrip;
    at = w.panels + strip * w.strip_bytes + first * unit_bytes;
    step = panels * unit_bytes;
    scale_bytes = (panels * kPanel * (w.scales_bf16 ? 2 : 4) + 63) / 64 * 64;
  }

  /// INT8, INT4, behind a group's codes: the scales of the tile's panel p in that group.
  HADAL_INLINE F32x16 Scales(const PanelWeight& w, int64_t p) const {
    const std::byte* scales = at - first * 64;
    const int64_t index = (first + p) * kPanel;
    return w.scales_bf16 ? LoadBF16(reinterpret_cast<const uint16_t*>(scales) + index)
                         : Load(reinterpret_cast<const float*>(scales) + index);
  }
  HADAL_INLINE void SkipScales() { at += scale_bytes; }
};

}  // namespace
}  // namespace hadal
