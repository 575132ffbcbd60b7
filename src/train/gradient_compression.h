// Gradients as 16-bit numbers on their way between replicas.
#pragma once

#include <cstdint>
#include <span>

namespace hadal::train {

/// In which format gradients travel when they are summed over replicas; sums are taken in T.
enum class GradientCompression { kNone, kBF16, kFP16 };

/// 16-bit words of a block of `count` numbers: themselves and, under FP16, the block's exponent.
constexpr int64_t CompressedWords(GradientCompression format, int64_t count) {
  return count + (format == GradientCompression::kFP16 ? 1 : 0);
}

/// A block x, rounded, into CompressedWords(x.size()) words. BF16 has the range of a float. FP16 has not: a
/// block is multiplied by the power of two that brings its largest number between 2^14 and 2^15, so that
/// nothing finite becomes infinite, and small gradients do not vanish beside 65504. A number that is not
/// finite stays so.
template <typename T>
void Compress(GradientCompression format, std::span<const T> x, uint16_t* words);

/// sum += the block of `words`.
template <typename T>
void AddCompressed(GradientCompression format, const uint16_t* words, std::span<T> sum);

}  // namespace hadal::train
