#include "engine/block_pool.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(BlockPool, TakesAllOrNothingAndTakesBack) {
  BlockPool pool(4);
  std::vector<int32_t> a, b;
  ASSERT_TRUE(pool.Extend(a, 3));
  EXPECT_EQ(a, (std::vector<int32_t>{0, 1, 2}));
  const Status refused = pool.Extend(b, 2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(pool.free_blocks(), 1);
  ASSERT_TRUE(pool.Extend(b, 1));
  pool.Release(a);
  EXPECT_EQ(pool.free_blocks(), 3);
  ASSERT_TRUE(pool.Extend(b, 2));
  EXPECT_EQ(b, (std::vector<int32_t>{3, 0})) << "the lowest free block comes first";
  ASSERT_TRUE(pool.Extend(b, 1)) << "a table is never shortened";
  EXPECT_EQ(b.size(), 2u);
}

TEST(BlockPool, ASharedBlockIsFreeWhenItsLastOwnerLetsGo) {
  BlockPool pool(2);
  std::vector<int32_t> a;
  ASSERT_TRUE(pool.Extend(a, 1));
  pool.Share(a[0]);
  EXPECT_EQ(pool.owners(0), 2);
  pool.Drop(0);
  EXPECT_EQ(pool.free_blocks(), 1);
  pool.Release(a);
  EXPECT_EQ(pool.free_blocks(), 2);
  EXPECT_EQ(pool.owners(0), 0);
}

TEST(BlockPoolDeathTest, ABlockGivenBackTwiceIsABug) {
  BlockPool pool(2);
  std::vector<int32_t> a;
  ASSERT_TRUE(pool.Extend(a, 1));
  std::vector<int32_t> copy = a;
  pool.Release(a);
  EXPECT_DEATH(pool.Release(copy), "given back twice");
}

}  // namespace
}  // namespace hadal
