#include "engine/live_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/golden_util.h"

namespace hadal {
namespace {

using golden::Must;

constexpr int64_t kVocab = 4, kContext = 6;

SamplingParams MaxTokens(int64_t max_tokens) {
  SamplingParams params;
  params.max_tokens = max_tokens;
  return params;
}

struct Fixture {
  explicit Fixture(SamplingParams params, int logprobs = -1) {
    params.temperature = 0;
    GenerationRequest request;
    request.prompt = {1, 2};
    request.params = params;
    request.stop_ids = {3};
    request.logprobs = logprobs;
    live = Must(LiveRequest::Create(std::move(request), kVocab, kContext, 4));
  }
  /// Draws from logits whose highest is `best`'s and takes the token in.
  const TokenEvent& Next(int32_t best) {
    std::vector<float> logits(kVocab, 0.0f);
    logits[static_cast<size_t>(best)] = 2;
    live->Draw(logits, scratch);
    live->Accept(kContext);
    return live->event;
  }
  std::unique_ptr<LiveRequest> live;
  SamplerScratch scratch = Must(SamplerScratch::Create(kVocab));
};

TEST(LiveRequest, EndsAtMaxTokensWithTheTokenInTheLastEvent) {
  Fixture f(MaxTokens(2));
  EXPECT_FALSE(f.Next(1).finished);
  const TokenEvent& last = f.Next(0);
  EXPECT_TRUE(last.finished);
  EXPECT_EQ(last.token, 0);
  EXPECT_EQ(last.reason, FinishReason::kLength);
  EXPECT_EQ(f.live->sequence.tokens, (std::vector<int32_t>{1, 2, 1, 0}));
  EXPECT_EQ(f.live->sequence.prompt_length, 2);
  EXPECT_EQ(f.live->usage.generated, 2);
}

TEST(LiveRequest, EndsWhereTheContextEndsUnlessMaxTokensWasReachedThere) {
  Fixture f(MaxTokens(100));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(f.Next(0).finished);
  EXPECT_TRUE(f.Next(0).finished);
  EXPECT_EQ(f.live->event.reason, FinishReason::kContext);
  Fixture both(MaxTokens(4));
  for (int i = 0; i < 4; ++i) both.Next(0);
  EXPECT_EQ(both.live->event.reason, FinishReason::kLength);
}

TEST(LiveRequest, AStopTokenEndsWithoutBeingDelivered) {
  Fixture f(MaxTokens(100), 2);
  const TokenEvent& last = f.Next(3);
  EXPECT_TRUE(last.finished);
  EXPECT_EQ(last.reason, FinishReason::kStop);
  EXPECT_EQ(last.token, -1);
  EXPECT_TRUE(last.top.empty());
  EXPECT_EQ(f.live->usage.generated, 0);
  SamplingParams ignore = MaxTokens(100);
  ignore.ignore_eos = true;
  Fixture ignoring(ignore);
  EXPECT_EQ(ignoring.Next(3).token, 3);
  EXPECT_FALSE(ignoring.live->event.finished);
}

TEST(LiveRequest, LogprobsAreTheModelsOwnWhateverTheBias) {
  SamplingParams params;
  params.logit_bias = {{0, 100.0f}};
  Fixture f(params, 2);
  const TokenEvent& event = f.Next(1);
  EXPECT_EQ(event.token, 0);
  const double rest = -std::log(std::exp(2.0) + 3);
  EXPECT_NEAR(event.logprob, rest, 1e-15);
  ASSERT_EQ(event.top.size(), 2u);
  EXPECT_EQ(event.top[0].first, 1);
  EXPECT_NEAR(event.top[0].second, 2 + rest, 1e-15);
  EXPECT_EQ(event.top[1].first, 0);
}

TEST(LiveRequest, ANanLogitFailsTheRequestAndNamesThePosition) {
  Fixture f({});
  std::vector<float> logits(kVocab, 0.0f);
  logits[2] = NAN;
  f.live->Draw(logits, f.scratch);
  f.live->Accept(kContext);
  EXPECT_TRUE(f.live->event.finished);
  EXPECT_EQ(f.live->event.reason, FinishReason::kError);
  EXPECT_EQ(f.live->event.error.code, Code::kDataLoss);
  EXPECT_THAT(f.live->event.error.message, testing::HasSubstr("position 2"));
  EXPECT_EQ(f.live->sequence.length(), 2);
}

TEST(LiveRequest, TakesItsMemoryAtOnce) {
  Fixture f(MaxTokens(1'000'000), 3);
  EXPECT_GE(f.live->sequence.tokens.capacity(), static_cast<size_t>(kContext));
  EXPECT_LT(f.live->sequence.tokens.capacity(), 100u) << "not for more than the context holds";
  EXPECT_GE(f.live->sequence.block_table.capacity(), 2u);
  const int32_t* tokens = f.live->sequence.tokens.data();
  for (int i = 0; i < 4; ++i) f.Next(0);
  EXPECT_EQ(f.live->sequence.tokens.data(), tokens);
}

/// Allows token 0, `count` times, then nothing; with `fails` an error after them.
class Zeros final : public TokenConstraint {
 public:
  Zeros(int count, bool fails) : left_(count), fails_(fails) {}
  Result<std::span<const uint64_t>> Allowed() override {
    if (left_ == 0) return InvalidArgument("no token goes on");
    return std::span<const uint64_t>(&mask_, 1);
  }
  void Accept(int32_t token) override {
    EXPECT_EQ(token, 0);
    --left_;
  }
  bool MustEnd() const override { return left_ == 0 && !fails_; }

 private:
  int left_;
  bool fails_;
  uint64_t mask_ = 1;
};

TEST(LiveRequest, AConstraintChoosesAndEndsWithItsLastToken) {
  Fixture f(MaxTokens(100), 1);
  f.live->request.constraint = std::make_shared<Zeros>(2, false);
  EXPECT_EQ(f.Next(1).token, 0);
  EXPECT_EQ(f.live->event.top[0].first, 1) << "log-probabilities are the model's own";
  const TokenEvent& last = f.Next(1);
  EXPECT_EQ(last.token, 0);
  EXPECT_TRUE(last.finished);
  EXPECT_EQ(last.reason, FinishReason::kStop);
  EXPECT_EQ(f.live->usage.generated, 2);

  Fixture empty(MaxTokens(100));
  empty.live->request.constraint = std::make_shared<Zeros>(0, false);
  EXPECT_EQ(empty.Next(1).token, -1);
  EXPECT_EQ(empty.live->event.reason, FinishReason::kStop);

  Fixture stuck(MaxTokens(100));
  stuck.live->request.constraint = std::make_shared<Zeros>(1, true);
  EXPECT_FALSE(stuck.Next(1).finished);
  EXPECT_EQ(stuck.Next(1).reason, FinishReason::kError);
  EXPECT_EQ(stuck.live->event.error.message, "no token goes on");
}

}  // namespace
}  // namespace hadal
