#include "engine/block_hash.h"

#include <gtest/gtest.h>

#include <vector>

namespace hadal {
namespace {

TEST(BlockHash, IsSipHash128) {
  // `openssl mac -macopt hexkey:000102…0f -macopt size:16 SIPHASH` of the bytes 00 01 … 17 and 00 01 … 1b.
  const HashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const BlockHash parent{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const std::vector<int32_t> ids{0x13121110, 0x17161514, 0x1b1a1918};
  EXPECT_EQ(HashBlock(key, parent, std::span(ids).first(2)),
            (BlockHash{0xd850bd78ae79b42d, 0xad32618a178a2a88}));
  EXPECT_EQ(HashBlock(key, parent, ids), (BlockHash{0x884b576816da6406, 0xf4ae587302f335b9}));
}

TEST(BlockHash, DependsOnKeyParentAndIds) {
  const HashKey key{1, 2};
  const std::vector<int32_t> ids{1, 2, 3, 4}, other{1, 2, 4, 3};
  const BlockHash hash = HashBlock(key, {}, ids);
  EXPECT_EQ(hash, HashBlock(key, {}, ids));
  EXPECT_NE(hash, HashBlock(key, {}, other));
  EXPECT_NE(hash, HashBlock(key, {0, 1}, ids));
  EXPECT_NE(hash, HashBlock({1, 3}, {}, ids));
  EXPECT_NE(hash, HashBlock(key, {}, std::span(ids).first(3)));
}

TEST(BlockHash, KeysAreRandom) {
  const Result<HashKey> a = RandomHashKey(), b = RandomHashKey();
  ASSERT_TRUE(a && b);
  EXPECT_NE(*a, *b);
}

}  // namespace
}  // namespace hadal
