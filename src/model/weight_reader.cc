#include "model/weight_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/check.h"
#include "model/compressed_tensors.h"

namespace hadal {
namespace {

/// The bits that are all ones in NaN (and infinity, where the type has it) and in nothing else.
template <typename T>
auto SpecialBits(DType type) {
  if constexpr (std::is_same_v<T, float>)
    return uint32_t{0x7f800000};
  else if constexpr (std::is_same_v<T, uint16_t>)
    return static_cast<uint16_t>(type == DType::kF16 ? 0x7c00 : 0x7f80);
  else
    return uint8_t{0x7f};
}

/// Index of the first element that has all the bits of `mask`, or -1.
template <typename T, typename Bits>
int64_t FirstSpecial(const T* x, int64_t count, Bits mask) {
  const auto special = [&](int64_t i) {
    Bits bits;
    std::memcpy(&bits, x + i, sizeof bits);
    return static_cast<Bits>(bits & mask) == mask;
  };
  // Nearly always there is none, so the first pass only asks whether: it has no branch and becomes vector
  // code.
  unsigned any = 0;
  for (int64_t i = 0; i < count; ++i) any |= special(i);
  if (any == 0) return -1;
  int64_t i = 0;
  while (!special(i)) ++i;
  return i;
}

float ScaleToFloat(const void* scales, DType type, int64_t i) {
  switch (type) {
    case DType::kF32:
      return static_cast<const float*>(scales)[i];
    case DType::kBF16:
      return ToFloat(bf16{static_cast<const uint16_t*>(scales)[i]});
    case DType::kF16:
      return ToFloat(f16{static_cast<const uint16_t*>(scales)[i]});
    default:
      return E8M0ToFloat(static_cast<const uint8_t*>(scales)[i]);
  }
}

/// out[k] = code[k] * scale of k's block, for one row.
template <typename Code, typename Convert>
void ScaleRow(const Code* codes, const float* scales, int64_t in, int64_t block, Convert convert,
              float* out) {
  for (int64_t begin = 0; begin < in; begin += block) {
    const int64_t end = std::min(in, begin + block);
    const float scale = scales[begin / block];
    for (int64_t k = begin; k < end; ++k) out[k] = convert(codes[k]) * scale;
  }
}

/// Values of the 256 codes: a look-up is three times as fast as the arithmetic.
std::array<float, 256> E4M3Values() {
  std::array<float, 256> values;
  for (size_t code = 0; code < values.size(); ++code)
    values[code] = ToFloat(e4m3{static_cast<uint8_t>(code)});
  return values;
}

}  // namespace

template <typename T>
Result<const T*> WeightReader::Elements(const TensorInfo& tensor, int64_t first, int64_t count,
                                        Scratch& scratch) {
  HADAL_CHECK_EQ(DTypeBits(tensor.dtype), static_cast<int>(sizeof(T) * 8));
  const auto offset = static_cast<uint64_t>(first) * sizeof(T),
             length = static_cast<uint64_t>(count) * sizeof(T);
  ASSIGN_OR_RETURN(const std::span<const std::byte> bytes,
                   checkpoint_->Read(tensor, offset, length, scratch.raw));
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) == 0)
    return reinterpret_cast<const T*>(bytes.data());
  scratch.aligned.resize(bytes.size());
  std::memcpy(scratch.aligned.data(), bytes.data(), bytes.size());
  return reinterpret_cast<const T*>(scratch.aligned.data());
}

template <typename T>
Result<const T*> WeightReader::FiniteElements(const TensorInfo& tensor, int64_t first, int64_t count,
                                              Scratch& scratch) {
  ASSIGN_OR_RETURN(const T* elements, Elements<T>(tensor, first, count, scratch));
  const int64_t bad = FirstSpecial(elements, count, SpecialBits<T>(tensor.dtype));
  if (bad < 0) return elements;
  const int64_t index = first + bad, width = tensor.shape.back();
  return DataLoss(
      "{}: tensor '{}' ({}) holds NaN or infinity in row {}, column {}; the file is damaged, copy or "
      "download it again",
      checkpoint_->path().string(), Shown(tensor.name), DTypeName(tensor.dtype), index / width,
      index % width);
}

template <typename Code>
Result<const Code*> WeightReader::Codes(const LinearSource& source, int64_t first, int64_t count) {
  HADAL_CHECK(first >= 0 && count >= 0 && first + count <= source.out, "rows {}+{} of {}", first, count,
              source.out);
  if constexpr (!std::is_same_v<Code, int8_t>) {
    HADAL_CHECK(!source.packed(), "'{}' is packed", source.values->name);
    return FiniteElements<Code>(*source.values, first * source.in, count * source.in, values_);
  } else {
    HADAL_CHECK(source.packed(), "'{}' is not packed", source.values->name);
    const auto row_bytes = static_cast<size_t>(source.row_bytes());
    ASSIGN_OR_RETURN(const std::span<const std::byte> bytes,
                     checkpoint_->Read(*source.values, static_cast<uint64_t>(first) * row_bytes,
                                       static_cast<uint64_t>(count) * row_bytes, values_.raw));
    const auto in = static_cast<size_t>(source.in);
    unpacked_.resize(static_cast<size_t>(count) * in);
    for (size_t row = 0; row < static_cast<size_t>(count); ++row)
      UnpackCodes(bytes.subspan(row * row_bytes, row_bytes), source.bits(),
                  std::span(unpacked_).subspan(row * in, in));
    return unpacked_.data();
  }
}

template Result<const float*> WeightReader::Codes<float>(const LinearSource&, int64_t, int64_t);
template Result<const uint16_t*> WeightReader::Codes<uint16_t>(const LinearSource&, int64_t, int64_t);
template Result<const uint8_t*> WeightReader::Codes<uint8_t>(const LinearSource&, int64_t, int64_t);
template Result<const int8_t*> WeightReader::Codes<int8_t>(const LinearSource&, int64_t, int64_t);

Result<const float*> WeightReader::Scales(const LinearSource& source, int64_t first, int64_t count) {
  // 512 is above the largest code of any format, so that no product overflows.
  constexpr float kLargest = std::numeric_limits<float>::max() / 512;
  const TensorInfo& tensor = *source.scales;
  const int64_t cols = source.scale_cols(), first_row = first / source.block_rows;
  const int64_t last_row = (first + count - 1) / source.block_rows;
  const int64_t elements = (last_row - first_row + 1) * cols;
  const int64_t width = DTypeBits(tensor.dtype) / 8;
  Result<const void*> raw = nullptr;
  if (width == 4) raw = Elements<float>(tensor, first_row * cols, elements, scales_);
  if (width == 2) raw = Elements<uint16_t>(tensor, first_row * cols, elements, scales_);
  if (width == 1) raw = Elements<uint8_t>(tensor, first_row * cols, elements, scales_);
  RETURN_IF_ERROR(raw);
  scale_floats_.resize(static_cast<size_t>(elements));
  for (int64_t i = 0; i < elements; ++i) {
    const float scale = ScaleToFloat(*raw, tensor.dtype, i);
    if (!(std::fabs(scale) <= kLargest))
      return DataLoss(
          "{}: tensor '{}' ({}) holds the scale {} in row {}, column {}; the file is damaged, copy or "
          "download it again",
          checkpoint_->path().string(), Shown(tensor.name), DTypeName(tensor.dtype), scale,
          first_row + i / cols, i % cols);
    scale_floats_[static_cast<size_t>(i)] = scale;
  }
  return scale_floats_.data();
}

Status WeightReader::Decode(const LinearSource& source, int64_t first, int64_t count, float* out) {
  const int64_t in = source.in;
  if (!source.scales) return ReadFloats(*source.values, first * in, count * in, out);
  ASSIGN_OR_RETURN(const float* scales, Scales(source, first, count));
  const auto row_scales = [&](int64_t row) {
    return scales + ((first + row) / source.block_rows - first / source.block_rows) * source.scale_cols();
  };
  if (source.packed()) {
    ASSIGN_OR_RETURN(const int8_t* codes, Codes<int8_t>(source, first, count));
    for (int64_t row = 0; row < count; ++row)
      ScaleRow(
          codes + row * in, row_scales(row), in, source.block_cols,
          [](int8_t code) { return static_cast<float>(code); }, out + row * in);
    return {};
  }
  ASSIGN_OR_RETURN(const uint8_t* codes, Codes<uint8_t>(source, first, count));
  static const std::array<float, 256> values = E4M3Values();
  for (int64_t row = 0; row < count; ++row)
    ScaleRow(
        codes + row * in, row_scales(row), in, source.block_cols, [](uint8_t code) { return values[code]; },
        out + row * in);
  return {};
}

Status WeightReader::ReadFloats(const TensorInfo& tensor, int64_t first, int64_t count, float* out) {
  if (tensor.dtype == DType::kF32) {
    ASSIGN_OR_RETURN(const float* x, FiniteElements<float>(tensor, first, count, values_));
    std::copy(x, x + count, out);
    return {};
  }
  ASSIGN_OR_RETURN(const uint16_t* x, FiniteElements<uint16_t>(tensor, first, count, values_));
  if (tensor.dtype == DType::kBF16) {
    for (int64_t i = 0; i < count; ++i) out[i] = ToFloat(bf16{x[i]});
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = ToFloat(f16{x[i]});
  }
  return {};
}

Status WeightReader::CopyElements(const TensorInfo& tensor, int64_t first, int64_t count, std::byte* out) {
  if (tensor.dtype == DType::kF32) {
    ASSIGN_OR_RETURN(const float* x, FiniteElements<float>(tensor, first, count, values_));
    std::memcpy(out, x, static_cast<size_t>(count) * sizeof *x);
    return {};
  }
  ASSIGN_OR_RETURN(const uint16_t* x, FiniteElements<uint16_t>(tensor, first, count, values_));
  std::memcpy(out, x, static_cast<size_t>(count) * sizeof *x);
  return {};
}

Status WeightReader::CheckPackedShape(const LinearSource& source) {
  int64_t found[2];
  if (source.shape->dtype == DType::kI64) {
    ASSIGN_OR_RETURN(const int64_t* shape, Elements<int64_t>(*source.shape, 0, 2, shape_));
    std::copy(shape, shape + 2, found);
  } else {
    ASSIGN_OR_RETURN(const int32_t* shape, Elements<int32_t>(*source.shape, 0, 2, shape_));
    std::copy(shape, shape + 2, found);
  }
  if (found[0] == source.out && found[1] == source.in) return {};
  const int64_t wanted[] = {source.out, source.in};
  return DataLoss(
      "{}: tensor '{}' says that the weight is {}, config.json needs {}; they are of different models",
      checkpoint_->path().string(), Shown(source.shape->name), ShapeText(found), ShapeText(wanted));
}

void WeightReader::Release(const LinearSource& source, int64_t first, int64_t count) const {
  const int64_t row_bytes = source.row_bytes();
  checkpoint_->Release(*source.values, static_cast<uint64_t>(first * row_bytes),
                       static_cast<uint64_t>(count * row_bytes));
  if (source.scales && source.block_rows == 1)
    Release(*source.scales, first * source.scale_cols(), count * source.scale_cols());
}

void WeightReader::Release(const TensorInfo& tensor, int64_t first, int64_t count) const {
  const int64_t width = DTypeBits(tensor.dtype) / 8;
  checkpoint_->Release(tensor, static_cast<uint64_t>(first * width), static_cast<uint64_t>(count * width));
}

}  // namespace hadal
