#include "tensor/dtype.h"

#include <array>
#include <utility>

namespace hadal {
namespace {

struct Row {
  DType type;
  std::string_view name;
  int bits;
};

constexpr std::array<Row, 19> kTypes{{{DType::kBool, "BOOL", 8},     {DType::kU8, "U8", 8},
                                      {DType::kI8, "I8", 8},         {DType::kU16, "U16", 16},
                                      {DType::kI16, "I16", 16},      {DType::kU32, "U32", 32},
                                      {DType::kI32, "I32", 32},      {DType::kU64, "U64", 64},
                                      {DType::kI64, "I64", 64},      {DType::kF64, "F64", 64},
                                      {DType::kF32, "F32", 32},      {DType::kF16, "F16", 16},
                                      {DType::kBF16, "BF16", 16},    {DType::kF8E4M3, "F8_E4M3", 8},
                                      {DType::kF8E5M2, "F8_E5M2", 8}, {DType::kF8E8M0, "F8_E8M0", 8},
                                      {DType::kF6E2M3, "F6_E2M3", 6}, {DType::kF6E3M2, "F6_E3M2", 6},
                                      {DType::kF4, "F4", 4}}};

}  // namespace

std::string_view DTypeName(DType type) { return kTypes[static_cast<size_t>(type)].name; }
int DTypeBits(DType type) { return kTypes[static_cast<size_t>(type)].bits; }

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const Row& row : kTypes)
    if (row.name == name) return row.type;
  return std::nullopt;
}

float ToFloat(f16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16;
  const uint32_t magnitude = x.bits & 0x7fff;
  if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // The same fields in a float stand for 2^-112 of the value; one exact product mends the bias.
  const float value = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

f16 ToF16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return f16{static_cast<uint16_t>(sign | 0x7e00)};
  if (magnitude >= 0x477ff000) return f16{static_cast<uint16_t>(sign | 0x7c00)};  // 65520 and more
  if (magnitude < 0x38800000) {  // below 2^-14: denormal, a multiple of 2^-24
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
    return f16{static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(scaled)))};
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000;
  return f16{static_cast<uint16_t>(sign | rounded >> 13)};
}

e4m3 ToE4M3(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint8_t sign = static_cast<uint8_t>(bits >> 24 & 0x80);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return e4m3{0x7f};
  if (magnitude >= 0x43e00000) return e4m3{static_cast<uint8_t>(sign | 0x7e)};  // 448 and more
  if (magnitude < 0x3c800000) {  // below 2^-6: denormal, a multiple of 2^-9
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p9f;
    return e4m3{static_cast<uint8_t>(sign | static_cast<uint8_t>(std::nearbyint(scaled)))};
  }
  const uint32_t rounded = magnitude + 0x7ffff + (magnitude >> 20 & 1) - 0x3c000000;
  return e4m3{static_cast<uint8_t>(sign | rounded >> 20)};
}

}  // namespace hadal
