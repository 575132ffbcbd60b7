#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace hadal {
namespace {

TEST(BF16, RoundsToNearestEven) {
  EXPECT_EQ(ToBF16(1.0f).bits, 0x3f80);
  EXPECT_EQ(ToBF16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);  // a tie goes to the even code below
  EXPECT_EQ(ToBF16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);  // and to the even code above
  EXPECT_EQ(ToBF16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81);
  EXPECT_EQ(ToBF16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_TRUE(std::isnan(ToFloat(ToBF16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(F16, EveryCodeSurvivesTheRoundTrip) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const float value = ToFloat(f16{static_cast<uint16_t>(code)});
    if (std::isnan(value)) continue;
    ASSERT_EQ(ToF16(value).bits, code);
  }
}

TEST(F16, MatchesTheCompilersConversion) {
  for (uint64_t i = 0; i < 200'000; ++i) {
    const auto random = PhiloxAt(7, 0, i);
    // Exponents around and beyond f16's range.
    const float x = std::bit_cast<float>((random[0] & 0x807fffffu) | ((100 + random[1] % 50) << 23));
    const _Float16 want = static_cast<_Float16>(x);
    ASSERT_EQ(ToF16(x).bits, std::bit_cast<uint16_t>(want)) << x;
  }
}

TEST(E4M3, EveryCodeSurvivesTheRoundTrip) {
  for (uint32_t code = 0; code < 256; ++code) {
    const float value = ToFloat(e4m3{static_cast<uint8_t>(code)});
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
      continue;
    }
    EXPECT_EQ(ToE4M3(value).bits, code) << value;
  }
}

TEST(E4M3, RoundsToNearestAmongAllCodes) {
  for (uint64_t i = 0; i < 20'000; ++i) {
    const auto random = PhiloxAt(3, 0, i);
    const float x = std::bit_cast<float>((random[0] & 0x807fffffu) | ((114 + random[1] % 24) << 23));
    float best = 1e9f;
    for (uint32_t code = 0; code < 256; ++code) {
      const float value = ToFloat(e4m3{static_cast<uint8_t>(code)});
      if (!std::isnan(value)) best = std::min(best, std::abs(value - x));
    }
    ASSERT_EQ(std::abs(ToFloat(ToE4M3(x)) - x), best) << x;
  }
}

TEST(DTypes, NamesRoundTrip) {
  for (int i = 0; i < 19; ++i) {
    const DType type = static_cast<DType>(i);
    EXPECT_EQ(DTypeFromName(DTypeName(type)), type);
  }
  EXPECT_FALSE(DTypeFromName("F7").has_value());
}

}  // namespace
}  // namespace hadal
