#include "text/utf8.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(Utf8, RepairsEachMaximalInvalidPartOnce) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(RepairUtf8(""), "");
  EXPECT_EQ(RepairUtf8("a\u00e9\u4e2d\U0001F44D"), "a\u00e9\u4e2d\U0001F44D");
  EXPECT_EQ(RepairUtf8("\x80"), r);
  EXPECT_EQ(RepairUtf8("\xC0\xAF"), r + r);                  // no character begins with C0
  EXPECT_EQ(RepairUtf8("\xE0\x80\x80"), r + r + r);          // overlong: E0 is not followed by 80
  EXPECT_EQ(RepairUtf8("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(RepairUtf8("\xF4\x90\x80\x80"), r + r + r + r);  // beyond U+10FFFF
  EXPECT_EQ(RepairUtf8("\xF0\x9F\x91x"), r + "x");           // three bytes of four: one part
  EXPECT_EQ(RepairUtf8("\xF0\x9F\x91"), r);                  // and cut off at the end
  EXPECT_EQ(RepairUtf8("\xE4\xB8\xE4\xB8\xAD"), r + "\u4e2d");
  // The example of the Unicode standard, table 3-11.
  EXPECT_EQ(RepairUtf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
}

TEST(Utf8, HoldsBackAnIncompleteCharacter) {
  std::string out;
  EXPECT_EQ(AppendRepairedUtf8("a\xF0\x9F\x91", out), 3u);
  EXPECT_EQ(out, "a");
  EXPECT_EQ(AppendRepairedUtf8("\xF0\x9F\x91\x8D", out), 0u);
  EXPECT_EQ(out, "a\U0001F44D");
}

TEST(Utf8, EncodesAndDecodesEveryScalar) {
  for (char32_t scalar = 0; scalar < 0x110000; ++scalar) {
    if (scalar >= 0xD800 && scalar < 0xE000) continue;
    std::string text;
    AppendUtf8(scalar, text);
    ASSERT_EQ(NextUtf8(text).kind, Utf8Step::kValid) << static_cast<uint32_t>(scalar);
    ASSERT_EQ(NextUtf8(text).length, text.size()) << static_cast<uint32_t>(scalar);
    ASSERT_EQ(DecodeUtf8(text), scalar);
  }
}

}  // namespace
}  // namespace hadal
