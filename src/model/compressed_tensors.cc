#include "model/compressed_tensors.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

void CheckSizes(size_t codes, int bits, size_t bytes) {
  HADAL_CHECK(bits == 4 || bits == 8, "{} bits", bits);
  HADAL_CHECK(bytes >= static_cast<size_t>(PackedWords(static_cast<int64_t>(codes), bits)) * 4,
              "{} codes of {} bits in {} bytes", codes, bits, bytes);
}

}  // namespace

void PackCodes(std::span<const int8_t> codes, int bits, std::span<std::byte> row) {
  CheckSizes(codes.size(), bits, row.size());
  std::fill(row.begin(), row.end(), std::byte{0});
  for (size_t i = 0; i < codes.size(); ++i) {
    if (bits == 8) {
      row[i] = static_cast<std::byte>(codes[i] + 128);
    } else {
      row[i / 2] |= static_cast<std::byte>((codes[i] + 8) << (i % 2 * 4));
    }
  }
}

void UnpackCodes(std::span<const std::byte> row, int bits, std::span<int8_t> codes) {
  CheckSizes(codes.size(), bits, row.size());
  const std::byte* bytes = row.data();
  int8_t* out = codes.data();
  const size_t count = codes.size();
  if (bits == 8) {
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<int8_t>(static_cast<int>(bytes[i]) - 128);
    return;
  }
  for (size_t i = 0; i < count / 2; ++i) {
    out[2 * i] = static_cast<int8_t>((static_cast<int>(bytes[i]) & 15) - 8);
    out[2 * i + 1] = static_cast<int8_t>((static_cast<int>(bytes[i]) >> 4) - 8);
  }
  if (count % 2 == 1) out[count - 1] = static_cast<int8_t>((static_cast<int>(bytes[count / 2]) & 15) - 8);
}

}  // namespace hadal
