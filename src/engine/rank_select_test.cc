#include "engine/rank_select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace hadal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<int32_t> Ranking(const std::vector<float>& logits) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  return order;
}

/// The cut keeps exactly the first `count` of `ranking`.
void ExpectPrefix(const RankCut& cut, const std::vector<float>& logits, const std::vector<int32_t>& ranking,
                  size_t count) {
  for (size_t r = 0; r < ranking.size(); ++r) {
    ASSERT_EQ(cut.Keeps(logits[ranking[r]], ranking[r]), r < count) << "rank " << r << " of " << count;
  }
}

TEST(OrderKey, OrdersLikeTheFloats) {
  const float ascending[] = {-kInf, -3e38f, -1.0f, -1e-45f, 0.0f, 1e-45f, 0.5f, 1.0f, 3e38f, kInf};
  for (size_t i = 1; i < std::size(ascending); ++i)
    EXPECT_LT(OrderKey(ascending[i - 1]), OrderKey(ascending[i]));
  EXPECT_EQ(OrderKey(-0.0f), OrderKey(0.0f));
}

TEST(RankSelect, ByCountIsTheSortedPrefixWithTies) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    const size_t size = random() % 600 + 1;
    std::vector<float> logits(size);
    std::normal_distribution<float> normal(0, 4);
    for (float& x : logits) {
      x = normal(random);
      if (round % 3 == 0) x = std::round(x);  // many ties, both zeros
      if (round % 5 == 0 && random() % 4 == 0) x = -kInf;
    }
    std::vector<int32_t> members(size);
    const auto ranking = Ranking(logits);
    for (size_t count : {size_t{1}, size / 2 + 1, size}) {
      ExpectPrefix(SelectByCount(logits, static_cast<int64_t>(count), members), logits, ranking, count);
    }
  }
}

TEST(RankSelect, ByMassIsTheShortestPrefixThatReachesIt) {
  // Weights are multiples of 1/64, so that every sum is exact and the borders are sharp.
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    const size_t size = random() % 300 + 1;
    std::vector<float> logits(size);
    std::vector<double> weights(size);
    for (size_t i = 0; i < size; ++i) {
      logits[i] = static_cast<float>(random() % 64 + 1) / 64;
      weights[i] = logits[i];
    }
    std::vector<int32_t> members(size);
    const auto ranking = Ranking(logits);
    double sum = 0;
    for (size_t r = 0; r < size; ++r) {
      sum += weights[ranking[r]];
      ExpectPrefix(SelectByMass(logits, weights, sum, members), logits, ranking, r + 1);
      if (r + 1 < size) {
        ExpectPrefix(SelectByMass(logits, weights, sum + 1.0 / 128, members), logits, ranking, r + 2);
      }
    }
  }
}

TEST(RankSelect, MassZeroKeepsOneAndTooMuchKeepsAll) {
  const std::vector<float> logits = {1, 3, 3, 2};
  const std::vector<double> weights = {0.25, 1, 1, 0.5};
  std::vector<int32_t> members(4);
  ExpectPrefix(SelectByMass(logits, weights, 0, members), logits, {1, 2, 3, 0}, 1);
  ExpectPrefix(SelectByMass(logits, weights, 2.8, members), logits, {1, 2, 3, 0}, 4);
}

}  // namespace
}  // namespace hadal
