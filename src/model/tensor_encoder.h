// Turns rows of floats into a tensor as model folders store it: the one place that writes each format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/linear_weight.h"
#include "model/config.h"
#include "model/safetensors_writer.h"
#include "model/tensor_names.h"

namespace hadal {

/// A tensor to be stored. `name` being "X.weight" where the format is quantised:
///
///   F32, BF16    name [shape]
///   FP8          X.weight F8_E4M3 [out, in]; X.weight_scale_inv F32 [ceil(out / 128), ceil(in / 128)]:
///                weight = code * scale, scale = amax / 448 of the block
///   INT8, INT4   X.weight_packed I32 [out, words] (compressed_tensors.h); X.weight_scale BF16 [out, in /
///   group];
///                X.weight_shape I32 [2] = out, in: QuantizeGroup's codes and scales
///
/// Finite values are a precondition. Thread-safe: nothing changes after it is made.
class TensorEncoder {
 public:
  /// kInvalidArgument, with the numbers: rows that are no multiple of the group, which no engine reads.
  static Result<TensorEncoder> Create(std::string name, std::vector<int64_t> shape, WeightFormat format,
                                      int64_t group);

  const std::string& name() const { return name_; }
  WeightFormat format() const { return format_; }
  /// A vector is one row.
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  /// What is written, in that order: values, then scales, then shape, as far as the format has them.
  std::vector<TensorDeclaration> Declarations() const;

  /// Encode takes rows in multiples of this, the tensor's last ones excepted.
  int64_t row_unit() const { return format_ == WeightFormat::kFp8 ? kFp8Block : 1; }
  int64_t ValueBytes(int64_t rows) const;  // of `rows` whole rows
  int64_t ScaleBytes(int64_t rows) const;
  std::vector<std::byte> ShapeBytes() const;  // empty where no shape is written

  /// x: [count][cols]; values: ValueBytes(count), scales: ScaleBytes(count). Floats round to nearest even.
  void Encode(const float* x, int64_t count, std::byte* values, std::byte* scales) const;

 private:
  TensorEncoder() = default;
  void EncodeFp8(const float* x, int64_t count, std::byte* values, std::byte* scales) const;
  void EncodePacked(const float* x, int64_t count, std::byte* values, std::byte* scales) const;
  bool packed() const { return format_ == WeightFormat::kInt8 || format_ == WeightFormat::kInt4; }
  int bits() const { return format_ == WeightFormat::kInt8 ? 8 : 4; }

  std::string name_;
  std::vector<int64_t> shape_;
  int64_t rows_ = 0, cols_ = 0;
  WeightFormat format_ = WeightFormat::kBF16;
  int64_t group_ = 0;  // INT8, INT4
};

/// How a folder of that quantisation stores a tensor: Linears quantised, the selection bias F32, the rest
/// BF16.
WeightFormat StoredFormat(TensorKind kind, const QuantizationConfig& quantization);

}  // namespace hadal
