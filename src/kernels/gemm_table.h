// What a device must be able to do for products of matrices: pack pieces of the factors, and multiply packed
// pieces.
//
// This header is compiled under each instruction set's flags, so it defines no inline function with external
// linkage: the linker could keep the copy that an older processor cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_info.h"

namespace hadal {

/// How a product is computed: the factors' format; sums are f64 for kF64 and f32 for the others.
enum class Compute : uint8_t { kF64, kF32, kBF16, kF16 };

/// A piece of a factor to pack: `lanes` rows of A (or columns of B) by `depth` positions of the summed index.
/// One of the two lies contiguously in memory; `stride` elements separate neighbours of the other.
template <typename T>
struct PackSource {
  const T* data;
  int64_t stride;
  int64_t lanes;
  int64_t depth;
  bool depth_contiguous;
};

/// c [m, n] (+)= packed A * packed B.
template <typename T>
struct PackedProduct {
  const std::byte* a;  // panels of `mr` lanes
  const std::byte* b;  // panels of `nr` lanes
  int64_t m, n;
  int64_t depth;          // both panels' padded depth is RoundUp(depth, depth_step)
  int64_t a_panel_bytes;  // from one panel to the next
  int64_t b_panel_bytes;
  T* c;
  int64_t c_stride;
  bool accumulate;
};

/// One format of compute on one instruction set. A panel holds mr (nr) lanes: [depth /
/// depth_step][lanes][depth_step] elements; what lies beyond the source's lanes and depth is zero.
template <typename T>
struct GemmFormat {
  int64_t mr, nr;      // lanes of a panel of A, of B
  int64_t depth_step;  // positions that lie together
  int64_t element_bytes;
  /// Packs all panels of a piece, `panel_bytes` apart. Source and target must not overlap.
  void (*pack_a)(const PackSource<T>& source, int64_t panel_bytes, std::byte* panels);
  void (*pack_b)(const PackSource<T>& source, int64_t panel_bytes, std::byte* panels);
  void (*multiply)(const PackedProduct<T>& product);
};

struct GemmTable {
  const char* name;
  GemmFormat<double> f64;
  GemmFormat<float> f32, bf16, f16;
};

/// Plain loops with double sums: the truth the others are tested against.
const GemmTable& ReferenceGemm();
/// Vector kernels for `isa`, which must be one of AvailableIsas().
const GemmTable& CpuGemm(Isa isa);

/// The format of `compute` for elements of T: kF64 for double, the others for float (CHECK).
template <typename T>
const GemmFormat<T>& FormatOf(const GemmTable& table, Compute compute);

/// Bytes of one panel of A (B) of that depth.
template <typename T>
int64_t PanelBytesA(const GemmFormat<T>& format, int64_t depth);
template <typename T>
int64_t PanelBytesB(const GemmFormat<T>& format, int64_t depth);

}  // namespace hadal
