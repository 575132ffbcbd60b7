#include "train/gradient_compression.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/dtype.h"

namespace hadal::train {
namespace {

// The largest number of a block of FP16 lies below 2 to this: rounding cannot pass 65504.
constexpr int kTopExponent = 15;
// Of a block whose largest number is a double's least; smaller powers of two are no doubles.
constexpr int kLeastExponent = -1000;

/// The power of two that a block is divided by; 0 where it has nothing finite but zeros.
template <typename T>
int BlockExponent(std::span<const T> x) {
  T most = 0;
  for (const T value : x) {
    const T size = std::abs(value);
    if (std::isfinite(size)) most = std::max(most, size);
  }
  if (most == 0) return 0;
  int exponent = 0;
  std::frexp(most, &exponent);
  return std::max(exponent - kTopExponent, kLeastExponent);
}

}  // namespace

template <typename T>
void Compress(GradientCompression format, std::span<const T> x, uint16_t* words) {
  if (format == GradientCompression::kBF16) {
    for (size_t i = 0; i < x.size(); ++i) words[i] = ToBF16(static_cast<float>(x[i])).bits;
    return;
  }
  const int exponent = BlockExponent(x);
  const double factor = std::ldexp(1.0, -exponent);
  words[0] = static_cast<uint16_t>(static_cast<int16_t>(exponent));
  for (size_t i = 0; i < x.size(); ++i)
    words[i + 1] = ToF16(static_cast<float>(static_cast<double>(x[i]) * factor)).bits;
}

template <typename T>
void AddCompressed(GradientCompression format, const uint16_t* words, std::span<T> sum) {
  if (format == GradientCompression::kBF16) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<T>(ToFloat(bf16{words[i]}));
    return;
  }
  const double factor = std::ldexp(1.0, static_cast<int16_t>(words[0]));
  constexpr auto kMost = static_cast<double>(std::numeric_limits<T>::max());
  for (size_t i = 0; i < sum.size(); ++i) {
    const auto value = static_cast<double>(ToFloat(f16{words[i + 1]}));
    // What was rounded up from the largest number that T has stays that number.
    sum[i] += static_cast<T>(std::isinf(value) ? value : std::clamp(value * factor, -kMost, kMost));
  }
}

template void Compress(GradientCompression, std::span<const float>, uint16_t*);
template void Compress(GradientCompression, std::span<const double>, uint16_t*);
template void AddCompressed(GradientCompression, const uint16_t*, std::span<float>);
template void AddCompressed(GradientCompression, const uint16_t*, std::span<double>);

}  // namespace hadal::train
