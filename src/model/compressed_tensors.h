// The integer layout of `compressed-tensors` folders, format "pack-quantized": codes of 4 or 8 bits in 32-bit
// words.
//
// A code is stored unsigned, code + 2^(bits-1), the first code of a row in the lowest bits of its first word;
// a row begins with a fresh word and what is left of its last one is zero. Words are little-endian, so that
// bytes hold codes in order, low nibble first. Source: github.com/vllm-project/compressed-tensors,
// compressors/pack_quantized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hadal {

/// 32-bit words of a row of `count` codes. bits is 4 or 8.
constexpr int64_t PackedWords(int64_t count, int bits) { return (count * bits + 31) / 32; }

/// One row. codes: in [-2^(bits-1), 2^(bits-1)); row: PackedWords(codes.size(), bits) * 4 bytes, all of them
/// written.
void PackCodes(std::span<const int8_t> codes, int bits, std::span<std::byte> row);

/// One row. row: at least PackedWords(codes.size(), bits) * 4 bytes, of any alignment.
void UnpackCodes(std::span<const std::byte> row, int bits, std::span<int8_t> codes);

}  // namespace hadal
