#include "kernels/kernel_table.h"

#include "base/check.h"
#include "kernels/cpu/targets.h"

namespace hadal {
namespace {

int64_t RoundUp64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

int64_t PreparedValueBytes(const PanelWeight& w, bool bf16_pairs) {
  switch (w.input) {
    case InputFormat::kBF16: return RoundUp64(w.padded_in * (bf16_pairs ? 2 : 4));
    case InputFormat::kInt8: return RoundUp64(w.padded_in);
    default: return RoundUp64(w.padded_in * 4);
  }
}

int64_t PreparedRowBytes(const PanelWeight& w, bool bf16_pairs) {
  int64_t own = 0;
  if (w.input == InputFormat::kInt8) own = w.scale_count * 8;
  if (w.input == InputFormat::kE4M3 || w.input == InputFormat::kE4M3Pow2) own = w.scale_count * 4;
  return PreparedValueBytes(w, bf16_pairs) + RoundUp64(own);
}

int64_t AbsorbedScratch(int64_t latent, int64_t rope) {
  const int64_t width = latent + rope;
  // The query with heads as lanes, a tile of cached tokens as floats, and their scores.
  return width * kPanel + kPositionTile * width + kPositionTile * kPanel + 64;
}

int64_t PromptRowBytes(int64_t latent) {
  // At most 4 bytes a value, the inputs padded by up to 255; a scale and a sum for each 8; each part padded to 64.
  return (latent * 8 + 1024 + 256) / 64 * 64;
}

int64_t PromptScratch(int64_t queries, int64_t nope, int64_t rope, int64_t value, int64_t latent) {
  const int64_t value_padded = (value + kPanel - 1) / kPanel * kPanel;
  const int64_t nope_padded = (nope + kPanel - 1) / kPanel * kPanel;
  const int64_t prepared = kPromptTile * 2 * PromptRowBytes(latent) / 4;
  // Keys with positions as lanes; one tile's decompressed keys; values; a cached token as floats; prepared rows and
  // what their alignment takes; each query's maximum, sum and weighted sum; four queries' weights.
  return (nope + rope) * kPromptTile + kPromptTile * nope_padded + kPromptTile * value_padded +
         latent + rope + prepared + 16 + queries * (2 + value_padded) + 4 * kPromptTile;
}

PanelWeight ToPanelWeight(const LinearWeight& w) {
  return {w.panels,        w.scales, w.out,    w.in,    w.padded_in(), w.strip_bytes(kStrip),
          w.scale_count(), w.group,  w.format, w.input, w.scales_bf16};
}

const KernelTable& CpuKernels(Isa isa) {
  HADAL_CHECK(isa <= BestIsa(), "this processor does not have {}", IsaName(isa));
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return cpu_avx512::Table();
  if (isa == Isa::kAvx2) return cpu_avx2::Table();
#endif
  return cpu_generic::Table();
}

}  // namespace hadal
