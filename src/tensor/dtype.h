// Number formats and the exact conversions between them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>

namespace hadal {

/// Element types that a checkpoint may hold, named as safetensors names them.
enum class DType : uint8_t {
  kBool, kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64,
  kF64, kF32, kF16, kBF16, kF8E4M3, kF8E5M2, kF8E8M0, kF6E2M3, kF6E3M2, kF4,
};

/// "F32", "BF16", "F8_E4M3", …
std::string_view DTypeName(DType type);
std::optional<DType> DTypeFromName(std::string_view name);
/// Bits of one element: 4 and 6 for the sub-byte types.
int DTypeBits(DType type);

struct bf16 {
  uint16_t bits = 0;
};
struct f16 {
  uint16_t bits = 0;
};
/// Four exponent bits (bias 7), three of mantissa, no infinity; 0x7f and 0xff are NaN. Largest value 448.
struct e4m3 {
  uint8_t bits = 0;
};

inline float ToFloat(float x) { return x; }
inline float ToFloat(bf16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

/// Round to nearest even; NaN stays NaN (quiet).
inline bf16 ToBF16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return bf16{static_cast<uint16_t>((bits >> 16) | 0x40)};
  return bf16{static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
inline float RoundToBF16(float x) { return ToFloat(ToBF16(x)); }

float ToFloat(f16 x);
f16 ToF16(float x);  // round to nearest even, overflow to infinity

inline float ToFloat(e4m3 x) {
  const uint32_t magnitude = x.bits & 0x7f;
  if (magnitude == 0x7f) return std::bit_cast<float>(0x7fc00000u | (uint32_t{x.bits & 0x80u} << 24));
  // The same fields, seven exponents of bias up: a float whose value is 2^-120 of it, denormals included.
  const float tiny = std::bit_cast<float>(magnitude << 20);
  return std::copysign(tiny * 0x1p120f, (x.bits & 0x80) ? -1.0f : 1.0f);
}
/// Round to nearest even, saturating at ±448; NaN gives 0x7f.
e4m3 ToE4M3(float x);

/// 2^(code - 127), the value of an F8_E8M0 scale; 255 is NaN.
inline float E8M0ToFloat(uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7fc00000u);
  return code == 0 ? 0x1p-127f : std::bit_cast<float>(uint32_t{code} << 23);
}

}  // namespace hadal
