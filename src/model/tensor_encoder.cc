#include "model/tensor_encoder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/rounding.h"
#include "model/compressed_tensors.h"

namespace hadal {
namespace {

constexpr float kE4M3Max = 448;
/// Added and taken away again, it rounds to an integer, to nearest even, what is below 2^22: vector code on
/// every machine, as nearbyint is not.
constexpr float kRounder = 0x1.8p23f;

float AbsMax(const float* x, int64_t count) {
  // As integers, magnitudes order as the floats do, and an integer maximum may be taken in any order.
  uint32_t top = 0;
  for (int64_t i = 0; i < count; ++i) top = std::max(top, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
  return std::bit_cast<float>(top);
}

/// ToE4M3 of a finite x, without branches.
inline uint8_t FiniteToE4M3(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const float tiny =
      std::bit_cast<float>(std::min(magnitude, 0x3c800000u)) * 0x1p9f;  // below 2^-6: times 2^9
  const uint32_t denormal = std::bit_cast<uint32_t>(tiny + kRounder) & 0xff;
  const uint32_t normal = (magnitude + 0x7ffff + (magnitude >> 20 & 1) - 0x3c000000) >> 20;
  const uint32_t code = magnitude < 0x3c800000 ? denormal : normal;
  return static_cast<uint8_t>((bits >> 24 & 0x80) | (magnitude >= 0x43e00000 ? 0x7e : code));
}

/// One group into stored codes, code + 2^(bits-1): the codes and the scale that QuantizeGroup gives.
float EncodeGroup(const float* x, int64_t count, int bits, uint8_t* codes) {
  const auto top = static_cast<float>((1 << (bits - 1)) - 1);
  const float scale = RoundToBF16(AbsMax(x, count) / top);
  const float divisor = scale > 0 ? scale : std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < count; ++i) {
    const float clamped = std::min(std::max(x[i] / divisor, -top - 1), top);
    codes[i] =
        static_cast<uint8_t>(static_cast<int>(clamped + kRounder - kRounder) + static_cast<int>(top) + 1);
  }
  return scale;
}

void PutBF16(const float* x, int64_t count, std::byte* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]);
    const auto half = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    std::memcpy(out + 2 * i, &half, sizeof half);
  }
}

/// "X" of "X.weight".
std::string Base(const std::string& name) {
  return name.substr(0, name.size() - std::string_view(".weight").size());
}

}  // namespace

Result<TensorEncoder> TensorEncoder::Create(std::string name, std::vector<int64_t> shape, WeightFormat format,
                                            int64_t group) {
  HADAL_CHECK(shape.size() == 1 || shape.size() == 2, "'{}' has {} dimensions", name, shape.size());
  HADAL_CHECK(format != WeightFormat::kF16, "'{}' as F16", name);
  TensorEncoder encoder;
  encoder.rows_ = shape.size() == 2 ? shape[0] : 1;
  encoder.cols_ = shape.back();
  encoder.name_ = std::move(name);
  encoder.shape_ = std::move(shape);
  encoder.format_ = format;
  if (encoder.packed()) {
    if (encoder.cols_ % group != 0)
      return InvalidArgument(
          "'{}' has rows of {} values, which groups of {} do not divide ({} are left over)", encoder.name_,
          encoder.cols_, group, encoder.cols_ % group);
    encoder.group_ = group;
  }
  HADAL_CHECK(!encoder.ScaleBytes(1) || (encoder.shape_.size() == 2 && encoder.name_.ends_with(".weight")),
              "'{}' is no Linear", encoder.name_);
  return encoder;
}

std::vector<TensorDeclaration> TensorEncoder::Declarations() const {
  if (format_ == WeightFormat::kF32) return {{name_, DType::kF32, shape_}};
  if (format_ == WeightFormat::kBF16) return {{name_, DType::kBF16, shape_}};
  if (format_ == WeightFormat::kFp8)
    return {{name_, DType::kF8E4M3, shape_},
            {name_ + "_scale_inv", DType::kF32, {CeilDiv(rows_, kFp8Block), CeilDiv(cols_, kFp8Block)}}};
  const std::string base = Base(name_);
  return {{base + ".weight_packed", DType::kI32, {rows_, PackedWords(cols_, bits())}},
          {base + ".weight_scale", DType::kBF16, {rows_, cols_ / group_}},
          {base + ".weight_shape", DType::kI32, {2}}};
}

int64_t TensorEncoder::ValueBytes(int64_t rows) const {
  if (packed()) return rows * PackedWords(cols_, bits()) * 4;
  if (format_ == WeightFormat::kFp8) return rows * cols_;
  return rows * cols_ * (format_ == WeightFormat::kF32 ? 4 : 2);
}

int64_t TensorEncoder::ScaleBytes(int64_t rows) const {
  if (packed()) return rows * (cols_ / group_) * 2;
  return format_ == WeightFormat::kFp8 ? CeilDiv(rows, kFp8Block) * CeilDiv(cols_, kFp8Block) * 4 : 0;
}

std::vector<std::byte> TensorEncoder::ShapeBytes() const {
  if (!packed()) return {};
  const int32_t shape[2] = {static_cast<int32_t>(rows_), static_cast<int32_t>(cols_)};
  std::vector<std::byte> bytes(sizeof shape);
  std::memcpy(bytes.data(), shape, sizeof shape);
  return bytes;
}

void TensorEncoder::Encode(const float* x, int64_t count, std::byte* values, std::byte* scales) const {
  if (format_ == WeightFormat::kF32) {
    std::memcpy(values, x, static_cast<size_t>(count * cols_) * sizeof *x);
  } else if (format_ == WeightFormat::kBF16) {
    PutBF16(x, count * cols_, values);
  } else if (format_ == WeightFormat::kFp8) {
    EncodeFp8(x, count, values, scales);
  } else {
    EncodePacked(x, count, values, scales);
  }
}

void TensorEncoder::EncodeFp8(const float* x, int64_t count, std::byte* values, std::byte* scales) const {
  for (int64_t row = 0; row < count; row += kFp8Block) {
    const int64_t rows = std::min(kFp8Block, count - row);
    for (int64_t col = 0; col < cols_; col += kFp8Block) {
      const int64_t cols = std::min(kFp8Block, cols_ - col), corner = row * cols_ + col;
      float amax = 0;
      for (int64_t r = 0; r < rows; ++r) amax = std::max(amax, AbsMax(x + corner + r * cols_, cols));
      // Of zeros any scale would do but 0, by which some readers divide; the same where amax / 448 vanishes.
      const float scale = amax > 0 ? std::max(amax / kE4M3Max, std::numeric_limits<float>::min()) : 1;
      for (int64_t r = 0; r < rows; ++r) {
        const float* from = x + corner + r * cols_;
        std::byte* to = values + corner + r * cols_;
        for (int64_t c = 0; c < cols; ++c) to[c] = static_cast<std::byte>(FiniteToE4M3(from[c] / scale));
      }
      std::memcpy(scales, &scale, sizeof scale);
      scales += sizeof scale;
    }
  }
}

void TensorEncoder::EncodePacked(const float* x, int64_t count, std::byte* values, std::byte* scales) const {
  constexpr int64_t kMaxGroup = 128;
  HADAL_CHECK(group_ % 8 == 0 && group_ <= kMaxGroup, "groups of {}", group_);
  const int64_t group_bytes = group_ * bits() / 8;  // whole words, since 8 divides the group
  uint8_t codes[kMaxGroup];
  for (int64_t group = 0; group < count * (cols_ / group_); ++group) {
    const float scale = EncodeGroup(x + group * group_, group_, bits(), codes);
    std::byte* to = values + group * group_bytes;
    if (bits() == 8) {
      std::memcpy(to, codes, static_cast<size_t>(group_bytes));
    } else {
      for (int64_t i = 0; i < group_bytes; ++i)
        to[i] = static_cast<std::byte>(codes[2 * i] | codes[2 * i + 1] << 4);
    }
    const bf16 rounded = ToBF16(scale);
    std::memcpy(scales + group * 2, &rounded, sizeof rounded);
  }
}

WeightFormat StoredFormat(TensorKind kind, const QuantizationConfig& quantization) {
  if (kind == TensorKind::kRouterBias) return WeightFormat::kF32;
  if (kind != TensorKind::kLinear || quantization.method == QuantizationConfig::Method::kNone)
    return WeightFormat::kBF16;
  if (quantization.method == QuantizationConfig::Method::kFp8) return WeightFormat::kFp8;
  return quantization.bits == 8 ? WeightFormat::kInt8 : WeightFormat::kInt4;
}

}  // namespace hadal
