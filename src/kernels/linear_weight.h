// A Linear's weight as the CPU kernels read it, and how it is packed.
//
// Layout. Outputs are taken 16 at a time, as a panel: the 16 lanes of a vector are 16 outputs, and the vector's
// accumulator walks along the inputs k in ascending order. So an output's sum has one fixed order whatever the
// number of rows, threads or vector width, and one layout serves one row (streams) and many (tiles). A panel's values
// are ordered by ascending k in units of 64 bytes (32 for F16):
//
//   F32   [k][16]                     4 bytes each
//   F16   [k][16]                     2 bytes each
//   BF16  [k/2][16][2]                a pair of inputs per 32-bit lane, as vdpbf16ps takes them
//   FP8   [k/4][4][2][4][2]           64 bytes: output/4, (k/2)%2, output%4, k%2; unpacks to the BF16 order
//   INT8  [k/4][16][4]                code + 128, four inputs per lane, as vpdpbusd takes them
//   INT4  [k/8][16][4]                code + 8; low nibbles are inputs 0..3 of eight, high nibbles 4..7
//
// Panels lie in strips of four (the last strip of a weight may have fewer), interleaved unit by unit, so that a kernel
// that takes four panels at a time reads one ascending stream, which is what a processor fetches ahead best:
//
//   strip = [units of k][panels of the strip][unit]
//
// INT8 and INT4 keep the scales of a group of inputs behind its codes, f32 or bf16, as part of the same stream:
//
//   strip = [groups]{ [units of the group][panels of the strip][unit]; scales [panels of the strip][16], padded to 64 }
//
// Rows are padded to 16 outputs and to a whole unit of k (INT8, INT4: to a whole group) with zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace hadal {

enum class WeightFormat : uint8_t { kF32, kF16, kBF16, kFp8, kInt8, kInt4 };

/// What a Linear does to its input rows before the products.
enum class InputFormat : uint8_t {
  kF32,        // nothing
  kBF16,       // rounds to bf16
  kInt8,       // symmetric int8 per row and group of the weight
  kE4M3,       // FP8 weights: e4m3 per row and 128 inputs, scale max(amax, 1e-4) / 448
  kE4M3Pow2,   // the same with the scale rounded up to a power of two (ue8m0)
};

constexpr int64_t kPanel = 16;      // outputs in a panel
constexpr int64_t kStrip = 4;       // panels that lie interleaved
constexpr int64_t kFp8Block = 128;  // inputs that share an FP8 scale

struct LinearWeight {
  int64_t out = 0;
  int64_t in = 0;
  WeightFormat format = WeightFormat::kF32;
  InputFormat input = InputFormat::kF32;
  int32_t group = 0;                   // INT8, INT4: inputs that share a scale (a multiple of 8)
  const std::byte* panels = nullptr;   // values_bytes(): the strips
  /// FP8: f32 [panels][ceil(in/128)], one scale for the 16 outputs (128-row blocks hold whole panels); else null.
  const void* scales = nullptr;
  bool scales_bf16 = false;            // INT8, INT4: scales are kept as bf16, else as f32

  int64_t panel_count() const { return (out + kPanel - 1) / kPanel; }
  /// Scales along k: groups (INT8, INT4), blocks (FP8), 0 otherwise.
  int64_t scale_count() const;
  /// Inputs with padding.
  int64_t padded_in() const;
  int64_t panel_bytes() const;   // of codes, without scales
  /// Of `count` interleaved panels, with the scales that lie among them.
  int64_t strip_bytes(int64_t count) const;
  int64_t values_bytes() const;
  int64_t scales_bytes() const;  // of `scales`
  /// Bytes a product with one row reads: values and scales.
  int64_t bytes() const { return values_bytes() + scales_bytes(); }
};

/// Packs row-major values of outputs [panel * 16, …) into their places in `values`, the memory of the whole weight.
/// `rows`: [row_count][in], `row_stride` codes apart, of the weight's own element type (float, f16 bits, bf16 bits, e4m3
/// codes, int8 codes, int4 codes as int8 in [-8, 7]); outputs beyond `row_count` become zero.
template <typename Code>
void PackPanel(const LinearWeight& w, int64_t panel, const Code* rows, int64_t row_stride, int64_t row_count,
               std::byte* values);

/// Puts the scale of an output's group into its place in `values`, rounded to bf16 where the weight keeps it so.
/// INT8 and INT4 only.
void PackScale(const LinearWeight& w, int64_t output, int64_t group, float scale, std::byte* values);

/// The code at (output, k) of a packed weight, without scale: a float, bf16 or f16 value, e4m3 value, or integer.
float PackedCode(const LinearWeight& w, int64_t output, int64_t k);
/// The scale that multiplies PackedCode; 1 for formats that have none.
float PackedScale(const LinearWeight& w, int64_t output, int64_t k);

/// Symmetric quantisation of one group: scale = amax / (2^(bits-1) - 1) rounded to bf16, code = round to nearest even
/// of x / scale, clamped. A group of zeros gets scale 0. bits is 8 or 4.
/// x: [count]; codes: [count]; returns the scale.
float QuantizeGroup(const float* x, int64_t count, int bits, int8_t* codes);

}  // namespace hadal
