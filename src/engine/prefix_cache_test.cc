#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace hadal {
namespace {

constexpr int64_t kBlock = 4;

std::vector<int32_t> Ids(int32_t first, int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

std::vector<int32_t> Join(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class PrefixCacheTest : public testing::Test {
 protected:
  /// A prompt's blocks, from the cache as far as it has them, computed and offered. How many it had.
  int64_t Fill(const std::vector<int32_t>& ids, std::vector<int32_t>& table) {
    const std::vector<BlockHash> hashes = cache_.Hashes(ids);
    const int64_t found = cache_.Find(hashes, ids).blocks;
    cache_.Take(hashes, ids, found, table);
    EXPECT_TRUE(cache_.Extend(table, static_cast<int64_t>(ids.size() + kBlock - 1) / kBlock));
    for (size_t i = static_cast<size_t>(found); i < hashes.size(); ++i)
      cache_.Insert(hashes[i], std::span(ids).subspan(i * kBlock, kBlock), static_cast<int64_t>(i), table);
    return found;
  }
  int64_t Found(const std::vector<int32_t>& ids) { return cache_.Find(cache_.Hashes(ids), ids).blocks; }

  BlockPool pool_{6};
  PrefixCache cache_{pool_, kBlock, true, {1, 2}};
};

TEST_F(PrefixCacheTest, FindsWhatHasTheSameBeginning) {
  std::vector<int32_t> a, b;
  EXPECT_EQ(Fill(Ids(0, 10), a), 0);
  EXPECT_EQ(Fill(Join(Ids(0, 8), Ids(50, 5)), b), 2);
  EXPECT_EQ(a[0], b[0]);
  EXPECT_EQ(a[1], b[1]);
  EXPECT_NE(a[2], b[2]);
  EXPECT_EQ(Found(Join(Ids(1, 4), Ids(4, 4))), 0) << "the second block alone is no beginning";
  EXPECT_EQ(Found(Ids(0, 7)), 1) << "a block that is not full is not shared";
}

TEST_F(PrefixCacheTest, KeepsBlocksUntilTheyAreNeededAndGivesUpTheOldestFromTheEnd) {
  std::vector<int32_t> a, b, c;
  Fill(Ids(0, 12), a);
  Fill(Ids(100, 8), b);
  cache_.Release(a);
  EXPECT_EQ(cache_.idle(), 3);
  EXPECT_EQ(pool_.free_blocks(), 1);
  EXPECT_EQ(cache_.available(), 4);
  cache_.Release(b);
  ASSERT_TRUE(cache_.Extend(c, 3));  // one was free, two are given up
  EXPECT_EQ(Found(Ids(0, 12)), 1);
  EXPECT_EQ(Found(Ids(100, 8)), 2);
  const Status refused = cache_.Extend(c, 7);
  ASSERT_FALSE(refused);
  EXPECT_EQ(cache_.idle(), 3) << "nothing is given up in vain";
  cache_.Release(c);
  cache_.Clear();
  EXPECT_EQ(pool_.free_blocks(), 6);
  EXPECT_EQ(Found(Ids(100, 8)), 0);
}

TEST_F(PrefixCacheTest, UseMakesABlockRecent) {
  std::vector<int32_t> a, b, again, c;
  Fill(Ids(0, 4), a);
  Fill(Ids(100, 4), b);
  cache_.Release(a);
  cache_.Release(b);
  EXPECT_EQ(Fill(Ids(0, 4), again), 1);
  cache_.Release(again);
  ASSERT_TRUE(cache_.Extend(c, 5));
  EXPECT_EQ(Found(Ids(0, 4)), 1);
  EXPECT_EQ(Found(Ids(100, 4)), 0);
}

TEST_F(PrefixCacheTest, TwoThatComputedTheSameShareIt) {
  const std::vector<int32_t> ids = Ids(0, 8);
  const std::vector<BlockHash> hashes = cache_.Hashes(ids);
  std::vector<int32_t> a, b;
  ASSERT_TRUE(cache_.Extend(a, 2));
  ASSERT_TRUE(cache_.Extend(b, 2));
  for (int64_t i = 0; i < 2; ++i)
    for (auto* table : {&a, &b})
      cache_.Insert(hashes[static_cast<size_t>(i)],
                    std::span(ids).subspan(static_cast<size_t>(i * kBlock), kBlock), i, *table);
  EXPECT_EQ(a, b);
  EXPECT_EQ(pool_.free_blocks(), 4);
}

TEST_F(PrefixCacheTest, EqualHashesOfDifferentTokensAreNoHit) {
  const std::vector<int32_t> ids = Ids(0, 8), other = Ids(100, 8), mixed = Join(Ids(100, 4), Ids(4, 4));
  std::vector<int32_t> a;
  Fill(ids, a);
  const std::vector<BlockHash> hashes = cache_.Hashes(ids);
  EXPECT_EQ(cache_.Find(hashes, ids).blocks, 2);
  EXPECT_EQ(cache_.Find(hashes, other).blocks, 0);
  // The second block's tokens are the same and so is its hash, but what is before it differs.
  std::vector<int32_t> b;
  ASSERT_TRUE(cache_.Extend(b, 2));
  cache_.Insert({7, 7}, std::span(mixed).first(kBlock), 0, b);
  cache_.Insert(hashes[1], std::span(mixed).subspan(kBlock), 1, b);
  EXPECT_NE(b[1], a[1]);
  const BlockHash collided[] = {{7, 7}, hashes[1]};
  EXPECT_EQ(cache_.Find(collided, mixed).blocks, 2);
  EXPECT_EQ(cache_.Find(hashes, ids).blocks, 1) << "the later of two that collide is kept";
  cache_.Release(a);
  cache_.Release(b);
  cache_.Clear();
  EXPECT_EQ(pool_.free_blocks(), 6);
}

TEST_F(PrefixCacheTest, WhatIsForgottenIsNotFoundAndNotContinued) {
  const std::vector<int32_t> ids = Ids(0, 12);
  std::vector<int32_t> bad, good, fresh;
  Fill(Ids(0, 8), bad);
  EXPECT_EQ(Fill(Ids(0, 8), good), 2);
  cache_.Forget(bad);
  cache_.Release(bad);
  EXPECT_EQ(Found(ids), 0);
  ASSERT_TRUE(cache_.Extend(good, 3));
  cache_.Insert(cache_.Hashes(ids)[2], std::span(ids).subspan(8), 2, good);
  cache_.Release(good);
  EXPECT_EQ(pool_.free_blocks(), 6);
  EXPECT_EQ(Fill(ids, fresh), 0);
  EXPECT_EQ(Found(ids), 3);
}

TEST(PrefixCache, SwitchedOffItKeepsNothing) {
  BlockPool pool(2);
  PrefixCache cache(pool, kBlock, false, {});
  EXPECT_TRUE(cache.Hashes(Ids(0, 8)).empty());
  std::vector<int32_t> table;
  ASSERT_TRUE(cache.Extend(table, 2));
  cache.Release(table);
  EXPECT_EQ(pool.free_blocks(), 2);
}

/// Random use against a plain model of it: a prompt's tokens are the truth of what its table must hold.
TEST(PrefixCache, RandomUseNeverMixesPromptsUpNorLeaks) {
  BlockPool pool(24);
  PrefixCache cache(pool, kBlock, true, {5, 6});
  std::vector<std::vector<int32_t>> content(24);  // what was computed into each block, with all before it
  struct Live {
    std::vector<int32_t> ids, table;
  };
  std::vector<Live> live;
  std::mt19937 random(11);
  for (int round = 0; round < 5000; ++round) {
    if (live.size() < 4 && random() % 2) {
      Live l;
      const size_t length = 1 + random() % 20;
      for (size_t i = 0; i < length; ++i)
        l.ids.push_back(static_cast<int32_t>(random() % 2 * (i / kBlock % 2)));
      const auto hashes = cache.Hashes(l.ids);
      const int64_t blocks = static_cast<int64_t>(length + kBlock - 1) / kBlock;
      const PrefixCache::Match match = cache.Find(hashes, l.ids);
      ASSERT_LE(blocks - (match.blocks - match.idle), cache.available());
      cache.Take(hashes, l.ids, match.blocks, l.table);
      for (int64_t i = 0; i < match.blocks; ++i)
        ASSERT_EQ(content[l.table[i]], std::vector<int32_t>(l.ids.begin(), l.ids.begin() + (i + 1) * kBlock));
      ASSERT_TRUE(cache.Extend(l.table, blocks));
      for (int64_t i = match.blocks; i < blocks; ++i)
        content[l.table[i]].assign(l.ids.begin(),
                                   l.ids.begin() + std::min<int64_t>((i + 1) * kBlock, length));
      for (int64_t i = match.blocks; i < static_cast<int64_t>(hashes.size()); ++i)
        cache.Insert(hashes[i], std::span(l.ids).subspan(i * kBlock, kBlock), i, l.table);
      live.push_back(std::move(l));
    } else if (!live.empty()) {
      const size_t which = random() % live.size();
      if (random() % 8 == 0) cache.Forget(live[which].table);
      cache.Release(live[which].table);
      live.erase(live.begin() + which);
    }
  }
  for (Live& l : live) cache.Release(l.table);
  EXPECT_EQ(cache.available(), 24);
  cache.Clear();
  EXPECT_EQ(pool.free_blocks(), 24);
}

}  // namespace
}  // namespace hadal
