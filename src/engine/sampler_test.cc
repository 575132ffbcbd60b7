#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>

#include "base/rng.h"
#include "engine/allocation_counter.h"

namespace hadal {
namespace {

using testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// A sampler with room of its own for one row.
struct Fixture {
  Fixture(SamplingParams params, int64_t vocab_size)
      : sampler(Sampler::Create(std::move(params), vocab_size).value()),
        scratch(SamplerScratch::Create(vocab_size).value()) {}
  Result<int32_t> Try(const std::vector<float>& logits, uint64_t position = 0) {
    return sampler.Sample(logits, position, scratch);
  }
  int32_t At(const std::vector<float>& logits, uint64_t position = 0) {
    return Try(logits, position).value();
  }
  std::set<int32_t> Drawn(const std::vector<float>& logits, int draws = 3000) {
    std::set<int32_t> ids;
    for (int i = 0; i < draws; ++i) ids.insert(At(logits, static_cast<uint64_t>(i)));
    return ids;
  }
  Sampler sampler;
  SamplerScratch scratch;
};

SamplingParams Greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

/// Logits whose softmax at temperature 1 is `probabilities`, up to the rounding of the log.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(p > 0 ? static_cast<float>(std::log(p)) : -kInf);
  return logits;
}

/// Pearson's statistic of `draws` draws against `probabilities`; a draw of probability 0 gives infinity.
double ChiSquare(Fixture& f, const std::vector<float>& logits, const std::vector<double>& probabilities,
                 int draws) {
  std::vector<int> seen(probabilities.size(), 0);
  for (int i = 0; i < draws; ++i) ++seen[f.At(logits, static_cast<uint64_t>(i))];
  double sum = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    const double want = probabilities[i] * draws;
    if (want == 0) {
      if (seen[i] > 0) return kInf;
      continue;
    }
    sum += (seen[i] - want) * (seen[i] - want) / want;
  }
  return sum;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  const double best = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (float x : logits) p.push_back(std::exp((x - best) / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

TEST(Sampler, GreedyTakesTheHighestAndOfEqualsTheLowestId) {
  for (int64_t size : {1, 2, 15, 16, 17, 1023, 1024, 1025, 5000}) {
    Fixture f(Greedy(), size);
    std::vector<float> logits(size, -2.0f);
    EXPECT_EQ(f.At(logits), 0);
    for (int64_t at : {size - 1, size / 2, int64_t{0}}) {  // ever lower ids join the tie
      logits[at] = 3.0f;
      EXPECT_EQ(f.At(logits), at) << size;
    }
  }
  Fixture f(Greedy(), 3);
  EXPECT_EQ(f.At({-0.0f, 0.0f, -1.0f}), 0);
  EXPECT_EQ(f.At({-kInf, -kInf, -3e38f}), 2);
}

TEST(Sampler, UnusableLogitsAreDataLossAtThePosition) {
  for (double temperature : {0.0, 1.0}) {
    for (int64_t bad : {0, 15, 1024, 1999}) {
      for (float value : {kNan, kInf}) {
        SamplingParams params;
        params.temperature = temperature;
        params.top_k = 5;
        params.repetition_penalty = 1.5;
        Fixture f(params, 2000);
        f.sampler.Observe(static_cast<int32_t>(bad), true);  // penalties must not hide it
        std::vector<float> logits(2000, 1.0f);
        logits[bad] = value;
        const auto result = f.Try(logits, 77);
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().code, Code::kDataLoss);
        EXPECT_THAT(result.error().message, HasSubstr("position 77"));
        EXPECT_THAT(result.error().message, HasSubstr("token " + std::to_string(bad) + " "));
      }
    }
    SamplingParams params;
    params.temperature = temperature;
    Fixture f(params, 20);
    const auto result = f.Try(std::vector<float>(20, -kInf), 3);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Code::kDataLoss);
    EXPECT_THAT(result.error().message, HasSubstr("position 3"));
  }
}

TEST(Sampler, MaskedTokensAreNeverDrawn) {
  SamplingParams params;
  params.temperature = 100;
  params.logit_bias = {{1, 100.0f}};  // no bias lifts a mask
  Fixture f(params, 4);
  EXPECT_EQ(f.Drawn({1.0f, -kInf, 1.0f, -kInf}), (std::set<int32_t>{0, 2}));
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegative) {
  SamplingParams params = Greedy();
  params.repetition_penalty = 2;
  // Token 0: 4 / 2 = 2, whether it stood in the prompt or was generated, and however often.
  for (bool is_prompt : {true, false}) {
    Fixture f(params, 2);
    EXPECT_EQ(f.At({4.0f, 2.125f}), 0);
    f.sampler.Observe(0, is_prompt);
    f.sampler.Observe(0, is_prompt);
    EXPECT_EQ(f.At({4.0f, 2.125f}), 1);
    EXPECT_EQ(f.At({4.0f, 1.875f}), 0);
    // -1 * 2 = -2.
    EXPECT_EQ(f.At({-1.0f, -1.875f}), 1);
    EXPECT_EQ(f.At({-1.0f, -2.125f}), 0);
  }
}

TEST(Sampler, PresenceAndFrequencyCountGeneratedTokensOnly) {
  SamplingParams params = Greedy();
  params.presence_penalty = 1;
  params.frequency_penalty = 0.5;
  Fixture f(params, 2);
  for (int i = 0; i < 9; ++i) f.sampler.Observe(0, /*is_prompt=*/true);
  EXPECT_EQ(f.At({5.0f, 4.9f}), 0);
  f.sampler.Observe(0, false);  // 5 - 1 - 0.5 = 3.5
  EXPECT_EQ(f.At({5.0f, 3.375f}), 0);
  EXPECT_EQ(f.At({5.0f, 3.625f}), 1);
  f.sampler.Observe(0, false);
  f.sampler.Observe(0, false);  // 5 - 1 - 1.5 = 2.5
  EXPECT_EQ(f.At({5.0f, 2.375f}), 0);
  EXPECT_EQ(f.At({5.0f, 2.625f}), 1);
}

TEST(Sampler, NegativePenaltiesEncourage) {
  SamplingParams params = Greedy();
  params.presence_penalty = -2;
  params.frequency_penalty = -1;
  Fixture f(params, 2);
  f.sampler.Observe(1, false);  // 1 + 2 + 1 = 4
  EXPECT_EQ(f.At({3.875f, 1.0f}), 1);
  EXPECT_EQ(f.At({4.125f, 1.0f}), 0);
}

TEST(Sampler, OrderIsRepetitionThenPresenceThenBias) {
  SamplingParams params = Greedy();
  params.repetition_penalty = 4;
  params.presence_penalty = 1;
  params.logit_bias = {{0, 8.0f}};
  Fixture f(params, 2);
  f.sampler.Observe(0, false);  // 8 / 4 - 1 + 8 = 9; other orders give 9.75, 3 or 3.75
  EXPECT_EQ(f.At({8.0f, 8.9375f}), 0);
  EXPECT_EQ(f.At({8.0f, 9.0625f}), 1);
}

TEST(Sampler, PenaltiesOnEnormousLogitsStayFinite) {
  SamplingParams params = Greedy();
  params.repetition_penalty = 0.01;
  Fixture f(params, 3);
  f.sampler.Observe(0, true);
  f.sampler.Observe(1, true);
  EXPECT_EQ(f.At({-3e38f, 3e38f, 1.0f}), 1);
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  const std::vector<float> logits = {1.5f, -0.5f, 3.0f, 0.0f, 2.9f, -2.0f, 1.0f, 2.0f, 0.25f, -1.0f, 0.5f};
  for (double temperature : {0.3, 1.0, 2.5}) {
    SamplingParams params;
    params.temperature = temperature;
    params.seed = 11;
    Fixture f(params, 11);
    // 10 degrees of freedom: above 35.6 once in 10,000 seeds.
    EXPECT_LT(ChiSquare(f, logits, Softmax(logits, temperature), 100000), 35.6) << temperature;
    // The test can fail: a temperature 5 % off is seen.
    EXPECT_GT(ChiSquare(f, logits, Softmax(logits, temperature * 1.05), 100000), 35.6) << temperature;
  }
}

TEST(Sampler, FilteredDrawsFollowTheRenormalisedRest) {
  const std::vector<double> p = {0.05, 0.4, 0.1, 0.3, 0.15};
  SamplingParams top_k;
  top_k.top_k = 3;
  Fixture k(top_k, 5);
  EXPECT_LT(ChiSquare(k, LogitsOf(p), {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85}, 100000), 18.4);
  SamplingParams top_p;
  top_p.top_p = 0.75;
  Fixture n(top_p, 5);
  EXPECT_LT(ChiSquare(n, LogitsOf(p), {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85}, 100000), 18.4);
  SamplingParams min_p;
  min_p.min_p = 0.3;
  Fixture m(min_p, 5);
  EXPECT_LT(ChiSquare(m, LogitsOf(p), {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85}, 100000), 18.4);
}

TEST(Sampler, TopKKeepsExactlyKLowestIdsOfEquals) {
  SamplingParams params;
  const std::vector<float> logits = {1, 2, 1, 2, 1};
  const std::map<int64_t, std::set<int32_t>> kept = {{1, {1}},
                                                     {2, {1, 3}},
                                                     {3, {0, 1, 3}},
                                                     {4, {0, 1, 2, 3}},
                                                     {5, {0, 1, 2, 3, 4}},
                                                     {0, {0, 1, 2, 3, 4}},
                                                     {-1, {0, 1, 2, 3, 4}},
                                                     {INT64_MAX, {0, 1, 2, 3, 4}}};
  for (const auto& [k, ids] : kept) {
    params.top_k = k;
    EXPECT_EQ(Fixture(params, 5).Drawn(logits), ids) << k;
  }
}

TEST(Sampler, TopPIncludesTheTokenThatReachesIt) {
  // Powers of two are exact in log2; equal logits make equal masses: 4 tokens of a quarter each.
  SamplingParams params;
  const std::vector<float> equal = {1, 1, 1, 1};
  const std::map<double, size_t> kept = {{0.0, 1},  {0.2, 1},  {0.25, 1}, {0.26, 2}, {0.5, 2},
                                         {0.51, 3}, {0.75, 3}, {0.76, 4}, {1.0, 4}};
  for (const auto& [p, count] : kept) {
    params.top_p = p;
    const std::set<int32_t> ids = Fixture(params, 4).Drawn(equal);
    EXPECT_EQ(ids.size(), count) << p;
    EXPECT_EQ(*ids.rbegin(), static_cast<int32_t>(count) - 1) << p;  // the lowest ids of equals
  }
}

TEST(Sampler, MinPKeepsTheTokenAtTheBorder) {
  SamplingParams params;
  params.temperature = 2;  // min_p counts after temperature: w = 1, sqrt(1/4), sqrt(1/16)
  const std::vector<float> logits = LogitsOf({0.64, 0.16, 0.04});
  params.min_p = 0.26;
  EXPECT_EQ(Fixture(params, 3).Drawn(logits), (std::set<int32_t>{0, 1}));
  params.min_p = 0.24;
  EXPECT_EQ(Fixture(params, 3).Drawn(logits), (std::set<int32_t>{0, 1, 2}));
  params.min_p = 1;  // equal to the best is at the border exactly
  EXPECT_EQ(Fixture(params, 4).Drawn({2, 3, 3, 2.999f}), (std::set<int32_t>{1, 2}));
}

TEST(Sampler, TopPCountsTheMassThatTopKLeft) {
  // Of all, the first two hold 0.7 < 0.75; of the three that top_k leaves, 0.7 / 0.85 = 0.82.
  SamplingParams params;
  params.top_p = 0.75;
  const std::vector<float> logits = LogitsOf({0.4, 0.3, 0.15, 0.1, 0.05});
  EXPECT_EQ(Fixture(params, 5).Drawn(logits), (std::set<int32_t>{0, 1, 2}));
  params.top_k = 3;
  EXPECT_EQ(Fixture(params, 5).Drawn(logits), (std::set<int32_t>{0, 1}));
  params.top_k = 0;
  params.min_p = 0.3;
  EXPECT_EQ(Fixture(params, 5).Drawn(logits), (std::set<int32_t>{0, 1}));
}

TEST(Sampler, TheTokenDependsOnSeedAndPositionOnly) {
  SamplingParams params;
  params.seed = 5;
  const std::vector<float> logits(500, 0.0f);
  Fixture forward(params, 500), backward(params, 500);
  std::map<uint64_t, int32_t> first;
  for (uint64_t i = 0; i < 200; ++i) first[i] = forward.At(logits, i);
  for (uint64_t i = 200; i-- > 0;) EXPECT_EQ(backward.At(logits, i), first[i]);
  params.seed = 6;
  Fixture other(params, 500);
  int same = 0;
  for (uint64_t i = 0; i < 200; ++i) same += other.At(logits, i) == first[i];
  EXPECT_LT(same, 8);  // 0.4 expected
}

TEST(Sampler, ASeedsDrawsNeverChange) {
  // The stream of a seed is part of the interface: a change of these would change every user's replay.
  SamplingParams params;
  params.seed = 42;
  params.temperature = 0.8;
  params.top_p = 0.95;
  Fixture f(params, 64);
  std::vector<float> logits(64);
  for (int i = 0; i < 64; ++i) logits[i] = static_cast<float>(i * 37 % 64) / 16;
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < 8; ++i) ids.push_back(f.At(logits, i));
  EXPECT_THAT(ids, testing::ElementsAre(38, 62, 53, 46, 19, 19, 17, 22));
}

/// The documented steps by sorting the vocabulary, with the library's exp.
int32_t Reference(const SamplingParams& params, const std::vector<float>& logits, uint64_t position) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  if (params.temperature == 0) return order[0];
  if (params.top_k > 0 && params.top_k < static_cast<int64_t>(order.size())) order.resize(params.top_k);
  const auto weight = [&](int32_t id) {
    return std::exp((double{logits[id]} - logits[order[0]]) / params.temperature);
  };
  while (weight(order.back()) < params.min_p) order.pop_back();
  double total = 0;
  for (int32_t id : order) total += weight(id);
  size_t kept = 0;
  double mass = 0;
  while (kept < order.size() && (kept == 0 || mass < params.top_p * total)) mass += weight(order[kept++]);
  if (params.top_p < 1) order.resize(kept);
  std::sort(order.begin(), order.end());
  total = 0;
  for (int32_t id : order) total += weight(id);
  const auto bits = PhiloxAt(params.seed, 0, position);
  double target = UnitDouble(bits[0], bits[1]) * total;
  for (int32_t id : order) {
    target -= weight(id);
    if (target < 0) return id;
  }
  return order.back();
}

TEST(Sampler, MatchesSortingTheWholeVocabulary) {
  std::mt19937_64 random(9);
  const auto pick = [&](std::initializer_list<double> list) { return list.begin()[random() % list.size()]; };
  for (int round = 0; round < 2000; ++round) {
    SamplingParams params;
    params.temperature = pick({0, 0.1, 0.7, 1, 3, 100});
    params.top_k = static_cast<int64_t>(pick({0, 0, 1, 7, 50, 1000}));
    params.top_p = pick({1, 1, 0.01, 0.5, 0.9, 0.999});
    params.min_p = pick({0, 0, 0.05, 0.5});
    params.seed = random();
    const int64_t size = static_cast<int64_t>(random() % 2500 + 1);
    std::normal_distribution<float> normal(0, 3);
    std::vector<float> logits(size);
    for (float& x : logits) x = round % 2 ? normal(random) : std::round(normal(random) * 4) / 4;
    Fixture f(params, size);
    ASSERT_EQ(f.At(logits, round), Reference(params, logits, round)) << "round " << round;
  }
}

TEST(Sampler, SampleAllocatesNothing) {
  constexpr int64_t kVocab = 5000;
  std::vector<float> logits(kVocab);
  std::mt19937_64 random(1);
  for (float& x : logits) x = std::normal_distribution<float>(0, 3)(random);
  for (double temperature : {0.0, 1.0}) {
    SamplingParams params;
    params.temperature = temperature;
    params.top_k = 900;
    params.top_p = 0.9;
    params.min_p = 0.001;
    params.repetition_penalty = 1.1;
    params.frequency_penalty = 0.5;
    params.logit_bias = {{3, 1.0f}};
    Fixture f(params, kVocab);
    const int64_t before = AllocationsOfThisThread();
    for (uint64_t i = 0; i < 20; ++i)
      f.sampler.Observe(f.sampler.Sample(logits, i, f.scratch).value(), false);
    EXPECT_EQ(AllocationsOfThisThread(), before);
  }
}

TEST(Sampler, InvalidParametersAreRefused) {
  SamplingParams params;
  params.top_p = 2;
  const auto sampler = Sampler::Create(params, 10);
  ASSERT_FALSE(sampler.has_value());
  EXPECT_EQ(sampler.error().code, Code::kInvalidArgument);
}

TEST(Sampler, TokensThatAreNotAllowedAreMaskedBeforeAllElse) {
  // The mask's fourth word is not there.
  std::vector<float> logits(250, 1.0f);
  logits[3] = 9;
  logits[200] = 8;
  std::vector<uint64_t> allowed(3);
  for (const int id : {5, 64, 127, 130}) allowed[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
  const auto draw = [&](SamplingParams params, uint64_t position) {
    Fixture f(std::move(params), 250);
    f.sampler.Observe(130, /*is_prompt=*/true);
    return f.sampler.Sample(logits, position, f.scratch, allowed).value();
  };
  EXPECT_EQ(draw(Greedy(), 0), 5);
  SamplingParams bias = Greedy();
  bias.logit_bias = {{3, 100.0f}, {127, 1.0f}};
  EXPECT_EQ(draw(bias, 0), 127);
  SamplingParams top;
  top.top_k = 100;
  top.repetition_penalty = 1.1;
  std::set<int32_t> drawn;
  for (uint64_t i = 0; i < 500; ++i) drawn.insert(draw(top, i));
  EXPECT_EQ(drawn, (std::set<int32_t>{5, 64, 127, 130}));
  // What is no number is found where it is masked, too.
  logits[0] = kNan;
  Fixture f(Greedy(), 250);
  EXPECT_EQ(f.sampler.Sample(logits, 7, f.scratch, allowed).error().code, Code::kDataLoss);
}

}  // namespace
}  // namespace hadal
