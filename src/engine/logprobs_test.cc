#include "engine/logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace hadal {
namespace {

TEST(LogOfAtLeastOne, AgreesWithTheLibrary) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const double x =
        1 + std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 40) - 70);
    const double want = std::log(x);
    ASSERT_NEAR(LogOfAtLeastOne(x), want, 2 * std::numeric_limits<double>::epsilon() * std::max(want, 1e-300))
        << x;
  }
  EXPECT_EQ(LogOfAtLeastOne(1), 0);
}

TEST(LogSoftmax, IsTheLogarithmOfTheSoftmax) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 5);
  std::vector<float> logits(1000);
  for (float& l : logits) l = normal(random);
  logits[17] = -std::numeric_limits<float>::infinity();
  long double sum = 0;
  for (const float l : logits) sum += std::exp(static_cast<long double>(l));
  const LogSoftmax log(logits);
  for (size_t id = 0; id < logits.size(); ++id) {
    if (id == 17) continue;
    EXPECT_NEAR(log[static_cast<int32_t>(id)], static_cast<double>(logits[id] - std::log(sum)), 1e-13);
  }
  EXPECT_EQ(log[17], -std::numeric_limits<double>::infinity());
}

TEST(LogSoftmax, TopIsTheSortedBeginningWithLowerIdsFirst) {
  std::mt19937 random(3);
  for (const size_t vocab : {1u, 5u, 300u}) {
    std::vector<float> logits(vocab);
    for (float& l : logits) l = static_cast<float>(random() % 40);  // many ties
    std::vector<int32_t> order(vocab);
    for (size_t i = 0; i < vocab; ++i) order[i] = static_cast<int32_t>(i);
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
    const LogSoftmax log(logits);
    for (const int64_t count : {0, 1, 20}) {
      std::vector<std::pair<int32_t, double>> top{{-5, 0.0}};
      log.Top(count, top);
      ASSERT_EQ(top.size(), std::min<size_t>(static_cast<size_t>(count), vocab));
      for (size_t i = 0; i < top.size(); ++i) {
        EXPECT_EQ(top[i].first, order[i]);
        EXPECT_EQ(top[i].second, log[order[i]]);
      }
    }
  }
}

}  // namespace
}  // namespace hadal
