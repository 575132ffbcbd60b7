#include "train/gradient_compression.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace hadal::train {
namespace {

/// What a block becomes on the other side.
template <typename T>
std::vector<T> There(GradientCompression format, const std::vector<T>& x) {
  std::vector<uint16_t> words(static_cast<size_t>(CompressedWords(format, static_cast<int64_t>(x.size()))),
                              0x7fff);
  Compress<T>(format, x, words.data());
  std::vector<T> sum(x.size());
  AddCompressed<T>(format, words.data(), sum);
  return sum;
}

/// `block` around each scale, 11 significant bits (BF16: 8) of each number kept.
template <typename T>
void ExpectKept(GradientCompression format, T scale, double bound) {
  const std::vector<T> x = {scale, -scale / 3, scale / 1000, T{0}, scale / 70000, -scale};
  const std::vector<T> got = There(format, x);
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got[i]), static_cast<double>(x[i]),
                std::abs(static_cast<double>(x[i])) * bound)
        << "element " << i << " of the scale " << static_cast<double>(scale);
}

TEST(GradientCompression, KeepsNumbersOfAnySize) {
  for (const float scale : {1e-30f, 3e-9f, 1e-4f, 1.0f, 65519.0f, 65520.0f, 1e6f, 3e38f}) {
    ExpectKept<float>(GradientCompression::kFP16, scale, 0x1p-11);
    ExpectKept<float>(GradientCompression::kBF16, scale, 0x1p-8);
  }
  for (const double scale : {1e-250, 1e-3, 1e5, 1e300})
    ExpectKept<double>(GradientCompression::kFP16, scale, 0x1p-11);
}

TEST(GradientCompression, WhatIsFiniteStaysFiniteAndWhatIsNotIsSeen) {
  constexpr float kMost = std::numeric_limits<float>::max(),
                  kInfinity = std::numeric_limits<float>::infinity();
  for (const float value : There<float>(GradientCompression::kFP16, {kMost, -kMost, 65504, 0}))
    EXPECT_TRUE(std::isfinite(value));
  const std::vector<float> got = There<float>(GradientCompression::kFP16, {kInfinity, 1.5f, NAN, -kInfinity});
  EXPECT_EQ(got[0], kInfinity);
  EXPECT_EQ(got[1], 1.5f);
  EXPECT_TRUE(std::isnan(got[2]));
  EXPECT_EQ(got[3], -kInfinity);
  EXPECT_EQ(There<float>(GradientCompression::kFP16, {0, -0.0f}), (std::vector<float>{0, 0}));
  EXPECT_EQ(There<double>(GradientCompression::kFP16, {5e-324})[0], 0)
      << "2^-1074 is below what a block can hold";
}

TEST(GradientCompression, AddsToWhatIsThere) {
  for (const auto format : {GradientCompression::kBF16, GradientCompression::kFP16}) {
    std::vector<uint16_t> words(static_cast<size_t>(CompressedWords(format, 2)));
    const std::vector<float> x = {96, -0.375f};
    Compress<float>(format, x, words.data());
    std::vector<float> sum = {1, 2};
    AddCompressed<float>(format, words.data(), sum);
    EXPECT_EQ(sum, (std::vector<float>{97, 1.625f}));
  }
}

}  // namespace
}  // namespace hadal::train
