#include "model/weight_source.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "base/rounding.h"
#include "model/compressed_tensors.h"

namespace hadal {
namespace {

Status CheckShape(const Checkpoint& checkpoint, const TensorInfo& tensor, std::span<const int64_t> wanted) {
  if (std::equal(tensor.shape.begin(), tensor.shape.end(), wanted.begin(), wanted.end())) return {};
  return DataLoss("{}: tensor '{}' is {}, config.json needs {}; they are of different models",
                  checkpoint.path().string(), Shown(tensor.name), ShapeText(tensor.shape), ShapeText(wanted));
}

Status CheckDType(const Checkpoint& checkpoint, const TensorInfo& tensor,
                  std::initializer_list<DType> wanted) {
  std::string names;
  for (DType type : wanted) {
    if (tensor.dtype == type) return {};
    names += fmt::format("{}{}", names.empty() ? "" : ", ", DTypeName(type));
  }
  return DataLoss("{}: tensor '{}' is {}; one of {} is needed", checkpoint.path().string(),
                  Shown(tensor.name), DTypeName(tensor.dtype), names);
}

/// That `base` has no tensor of that suffix.
Status CheckAbsent(const Checkpoint& checkpoint, std::string_view base, const char* suffix,
                   const TensorInfo& with) {
  const std::string name = fmt::format("{}{}", base, suffix);
  if (!checkpoint.Find(name)) return {};
  return DataLoss(
      "{}: tensor '{}' is there beside '{}' ({}), which does not use it; the folder mixes two formats",
      checkpoint.path().string(), Shown(name), Shown(with.name), DTypeName(with.dtype));
}

/// A part that a quantised weight must have.
Result<const TensorInfo*> FindPart(const Checkpoint& checkpoint, std::string_view base, const char* suffix,
                                   std::span<const int64_t> shape, std::initializer_list<DType> dtypes,
                                   const TensorInfo& whose) {
  const std::string name = fmt::format("{}{}", base, suffix);
  const TensorInfo* tensor = checkpoint.Find(name);
  if (!tensor)
    return NotFound("{}: no tensor '{}', which '{}' ({}) needs", checkpoint.path().string(), Shown(name),
                    Shown(whose.name), DTypeName(whose.dtype));
  RETURN_IF_ERROR(CheckDType(checkpoint, *tensor, dtypes));
  RETURN_IF_ERROR(CheckShape(checkpoint, *tensor, shape));
  return tensor;
}

Result<LinearSource> FindFp8(const Checkpoint& checkpoint, const QuantizationConfig& quantization,
                             std::string_view base, LinearSource source) {
  if (quantization.method != QuantizationConfig::Method::kFp8)
    return DataLoss("{}: tensor '{}' is F8_E4M3, and config.json has no quantization_config of method fp8",
                    checkpoint.path().string(), Shown(source.values->name));
  source.format = WeightFormat::kFp8;
  source.block_rows = quantization.block_rows;
  source.block_cols = quantization.block_cols;
  const int64_t shape[] = {CeilDiv(source.out, source.block_rows), source.scale_cols()};
  ASSIGN_OR_RETURN(source.scales, FindPart(checkpoint, base, ".weight_scale_inv", shape,
                                           {DType::kF32, DType::kBF16, DType::kF8E8M0}, *source.values));
  return source;
}

Result<LinearSource> FindPacked(const Checkpoint& checkpoint, const QuantizationConfig& quantization,
                                std::string_view base, LinearSource source) {
  const TensorInfo& values = *source.values;
  if (quantization.method != QuantizationConfig::Method::kCompressedTensors)
    return DataLoss(
        "{}: tensor '{}' is there, and config.json has no quantization_config of method "
        "compressed-tensors",
        checkpoint.path().string(), Shown(values.name));
  for (const char* suffix : {".weight_zero_point", ".weight_g_idx"})
    if (checkpoint.Find(fmt::format("{}{}", base, suffix)))
      return Unsupported("{}: '{}' has a tensor '{}'; only symmetric codes in order are supported",
                         checkpoint.path().string(), Shown(base), suffix);
  RETURN_IF_ERROR(CheckAbsent(checkpoint, base, ".weight", values));
  RETURN_IF_ERROR(CheckAbsent(checkpoint, base, ".weight_scale_inv", values));
  source.format = quantization.bits == 8 ? WeightFormat::kInt8 : WeightFormat::kInt4;
  source.block_rows = 1;
  source.block_cols = quantization.group_size;
  RETURN_IF_ERROR(CheckDType(checkpoint, values, {DType::kI32}));
  const int64_t words[] = {source.out, PackedWords(source.in, quantization.bits)};
  RETURN_IF_ERROR(CheckShape(checkpoint, values, words));
  const int64_t scales[] = {source.out, source.scale_cols()};
  ASSIGN_OR_RETURN(source.scales, FindPart(checkpoint, base, ".weight_scale", scales,
                                           {DType::kBF16, DType::kF16, DType::kF32}, values));
  const int64_t two[] = {2};
  ASSIGN_OR_RETURN(source.shape,
                   FindPart(checkpoint, base, ".weight_shape", two, {DType::kI64, DType::kI32}, values));
  return source;
}

}  // namespace

int64_t LinearSource::BytesOfRows(int64_t first, int64_t count) const {
  const int64_t bytes = count * row_bytes();
  if (!scales) return bytes;
  const int64_t scale_rows = CeilDiv(first + count, block_rows) - CeilDiv(first, block_rows);
  return bytes + scale_rows * scale_cols() * (DTypeBits(scales->dtype) / 8);
}

Result<LinearSource> FindLinear(const Checkpoint& checkpoint, const QuantizationConfig& quantization,
                                std::string_view base, int64_t out, int64_t in) {
  LinearSource source;
  source.out = out;
  source.in = in;
  source.values = checkpoint.Find(fmt::format("{}.weight_packed", base));
  if (source.values) return FindPacked(checkpoint, quantization, base, source);

  const std::string name = fmt::format("{}.weight", base);
  source.values = checkpoint.Find(name);
  if (!source.values)
    return NotFound("{}: no tensor '{}' (nor '{}.weight_packed'), which config.json's model needs",
                    checkpoint.path().string(), Shown(name), Shown(base));
  const TensorInfo& values = *source.values;
  RETURN_IF_ERROR(CheckDType(checkpoint, values, {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3}));
  const int64_t shape[] = {out, in};
  RETURN_IF_ERROR(CheckShape(checkpoint, values, shape));
  RETURN_IF_ERROR(CheckAbsent(checkpoint, base, ".weight_scale", values));
  if (values.dtype == DType::kF8E4M3) return FindFp8(checkpoint, quantization, base, source);
  RETURN_IF_ERROR(CheckAbsent(checkpoint, base, ".weight_scale_inv", values));
  source.format = values.dtype == DType::kF32   ? WeightFormat::kF32
                  : values.dtype == DType::kF16 ? WeightFormat::kF16
                                                : WeightFormat::kBF16;
  return source;
}

Result<const TensorInfo*> FindPlain(const Checkpoint& checkpoint, std::string_view name,
                                    std::span<const int64_t> shape) {
  const TensorInfo* tensor = checkpoint.Find(name);
  if (!tensor)
    return NotFound("{}: no tensor '{}', which config.json's model needs", checkpoint.path().string(),
                    Shown(name));
  RETURN_IF_ERROR(CheckDType(checkpoint, *tensor, {DType::kF32, DType::kF16, DType::kBF16}));
  RETURN_IF_ERROR(CheckShape(checkpoint, *tensor, shape));
  return tensor;
}

}  // namespace hadal
