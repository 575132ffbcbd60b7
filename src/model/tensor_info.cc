#include "model/tensor_info.h"

#include <algorithm>

namespace hadal {

Result<uint64_t> TensorBytes(DType type, std::span<const int64_t> shape) {
  uint64_t elements = 1;  // of the dimensions that are not 0
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0) return DataLoss("shape {} has a negative dimension", ShapeText(shape));
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(elements, static_cast<uint64_t>(size), &elements))
      return DataLoss("shape {} has more elements than 64 bits can count", ShapeText(shape));
  }
  const uint64_t bits_each = static_cast<uint64_t>(DTypeBits(type));
  uint64_t bits;
  if (__builtin_mul_overflow(elements, bits_each, &bits))
    return DataLoss("shape {} of {} has more bits than 64 bits can count", ShapeText(shape), DTypeName(type));
  if (empty) return 0;
  if (bits % 8 != 0)
    return DataLoss("shape {} of {} makes {} bits, which do not fill whole bytes", ShapeText(shape),
                    DTypeName(type), bits);
  return bits / 8;
}

std::string ShapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return text + "]";
}

std::string Shown(std::string_view name) {
  constexpr size_t kLongest = 120;
  std::string text;
  size_t end = std::min(name.size(), kLongest);
  // Never cut inside a UTF-8 sequence: its later bytes begin with the bits 10.
  while (end < name.size() && end > 0 && (static_cast<uint8_t>(name[end]) & 0xc0) == 0x80) --end;
  for (char c : name.substr(0, end)) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if (byte < 0x20 || byte == 0x7f)
      text += fmt::format("\\x{:02x}", byte);
    else if (c == '\'' || c == '\\')
      text += {'\\', c};
    else
      text += c;
  }
  if (end < name.size()) text += "…";
  return text;
}

}  // namespace hadal
