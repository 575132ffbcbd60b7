#include "model/compressed_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace hadal {
namespace {

using testing::ElementsAre;

std::vector<int> Packed(std::vector<int8_t> codes, int bits) {
  std::vector<std::byte> row(static_cast<size_t>(PackedWords(static_cast<int64_t>(codes.size()), bits)) * 4,
                             std::byte{0x5a});
  PackCodes(codes, bits, row);
  std::vector<int> bytes;
  for (std::byte byte : row) bytes.push_back(static_cast<int>(byte));
  return bytes;
}

// Worked by hand: codes -8, -7, 7 are the unsigned 0, 1, 15, lowest bits first.
TEST(CompressedTensors, PacksTheFirstCodeLowest) {
  EXPECT_THAT(Packed({-7, 7, -8, 0, 1, 2, 3, -1}, 4), ElementsAre(0xf1, 0x80, 0xa9, 0x7b));
  EXPECT_THAT(Packed({-128, 127, 0, -1}, 8), ElementsAre(0x00, 0xff, 0x80, 0x7f));
}

TEST(CompressedTensors, FillsTheLastWordWithZeros) {
  EXPECT_THAT(Packed({7}, 4), ElementsAre(0x0f, 0, 0, 0));
  EXPECT_THAT(Packed({7, 7, 7, 7, 7, 7, 7, 7, -7}, 4), ElementsAre(0xff, 0xff, 0xff, 0xff, 0x01, 0, 0, 0));
  EXPECT_THAT(Packed({0, 0, 0, 0, 1}, 8), ElementsAre(0x80, 0x80, 0x80, 0x80, 0x81, 0, 0, 0));
}

TEST(CompressedTensors, UnpacksWhatWasPacked) {
  uint64_t draws = 0;
  for (int bits : {4, 8}) {
    for (int64_t count : {0, 1, 7, 8, 9, 31, 32, 33, 129}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << count << " codes");
      const int half = 1 << (bits - 1);
      std::vector<int8_t> codes(static_cast<size_t>(count)), back(codes.size(), 99);
      for (int8_t& code : codes)
        code = static_cast<int8_t>(static_cast<int>(PhiloxAt(7, 0, draws++)[0] % (2u * half)) - half);
      // From an odd address, as a mapped file may have it.
      std::vector<std::byte> row(static_cast<size_t>(PackedWords(count, bits)) * 4 + 1);
      PackCodes(codes, bits, std::span(row).subspan(1));
      UnpackCodes(std::span<const std::byte>(row).subspan(1), bits, back);
      EXPECT_EQ(back, codes);
    }
  }
}

TEST(CompressedTensorsDeathTest, RefusesARowThatIsTooShort) {
  std::vector<int8_t> codes(9);
  std::vector<std::byte> row(4);
  EXPECT_DEATH(UnpackCodes(row, 4, codes), "9 codes of 4 bits in 4 bytes");
}

}  // namespace
}  // namespace hadal
