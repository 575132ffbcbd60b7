// Where a weight lies in a checkpoint and how it is stored there: found by name, checked against the config,
// not read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "kernels/linear_weight.h"
#include "model/checkpoint.h"
#include "model/config.h"

namespace hadal {

/// One Linear's weight in a checkpoint. `X` being its name without suffix, it is stored as
///
///   F32, F16, BF16   X.weight [out, in]
///   FP8              X.weight F8_E4M3 [out, in]; X.weight_scale_inv F32, BF16 or F8_E8M0
///                    [ceil(out / block_rows), ceil(in / block_cols)]: weight = code * scale
///   INT8, INT4       X.weight_packed I32 [out, words] (compressed_tensors.h); X.weight_scale BF16, F16 or
///   F32
///                    [out, ceil(in / block_cols)]; X.weight_shape I64 or I32 [2] = out, in
///
/// The pointers are the checkpoint's and live as long as it.
struct LinearSource {
  WeightFormat format = WeightFormat::kF32;
  int64_t out = 0, in = 0;
  const TensorInfo* values = nullptr;
  const TensorInfo* scales = nullptr;      // null for formats that have none
  const TensorInfo* shape = nullptr;       // INT8, INT4
  int64_t block_rows = 0, block_cols = 0;  // values that share a scale; INT8, INT4: 1 x group

  bool packed() const { return format == WeightFormat::kInt8 || format == WeightFormat::kInt4; }
  /// Of a packed code.
  int bits() const { return format == WeightFormat::kInt8 ? 8 : 4; }
  int64_t scale_cols() const { return (in + block_cols - 1) / block_cols; }
  /// Bytes of one row of `values`.
  int64_t row_bytes() const { return static_cast<int64_t>(values->bytes) / out; }
  /// Bytes of rows [first, first + count) with their scales; a row of scales counts with the first row that
  /// has it.
  int64_t BytesOfRows(int64_t first, int64_t count) const;
};

/// Finds the weight of Linear `base` ("model.layers.3.mlp.gate_proj"), whose shape must be [out, in].
///
/// kNotFound: a part of it is missing. kDataLoss: a part is of another shape or dtype, or there are parts of
/// two formats. kUnsupported: zero points or reordered groups. Each names the tensor, what was found, what
/// was expected.
Result<LinearSource> FindLinear(const Checkpoint& checkpoint, const QuantizationConfig& quantization,
                                std::string_view base, int64_t out, int64_t in);

/// Finds an unquantised tensor, F32, F16 or BF16, of exactly that shape: norms, biases, the embedding.
Result<const TensorInfo*> FindPlain(const Checkpoint& checkpoint, std::string_view name,
                                    std::span<const int64_t> shape);

}  // namespace hadal
