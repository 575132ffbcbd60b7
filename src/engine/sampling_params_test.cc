#include "engine/sampling_params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace hadal {
namespace {

using testing::HasSubstr;

constexpr int64_t kVocab = 1000;

struct Bad {
  std::function<void(SamplingParams&)> change;
  const char* says;
};

TEST(SamplingParams, DefaultsAndEdgesAreValid) {
  SamplingParams params;
  EXPECT_TRUE(Validate(params, 1).has_value());
  params.temperature = 100;
  params.top_k = INT64_MAX;
  params.top_p = 0;
  params.min_p = 1;
  params.repetition_penalty = 0.01;
  params.presence_penalty = -2;
  params.frequency_penalty = 2;
  params.logit_bias = {{0, -100.0f}, {kVocab - 1, 100.0f}};
  params.stop.assign(64, std::string(1024, 'x'));
  params.max_tokens = INT32_MAX;
  params.seed = UINT64_MAX;
  EXPECT_TRUE(Validate(params, kVocab).has_value());
}

TEST(SamplingParams, EachBadValueIsNamed) {
  const Bad cases[] = {
      {[](auto& p) { p.temperature = NAN; }, "temperature is nan; it must be a number from 0 to 100"},
      {[](auto& p) { p.temperature = -0.1; }, "temperature is -0.1"},
      {[](auto& p) { p.temperature = 100.5; }, "temperature is 100.5"},
      {[](auto& p) { p.temperature = INFINITY; }, "temperature is inf"},
      {[](auto& p) { p.top_k = -2; }, "top_k is -2"},
      {[](auto& p) { p.top_k = INT64_MIN; }, "top_k is -9223372036854775808"},
      {[](auto& p) { p.top_p = 1.01; }, "top_p is 1.01"},
      {[](auto& p) { p.top_p = NAN; }, "top_p is nan"},
      {[](auto& p) { p.min_p = -1; }, "min_p is -1"},
      {[](auto& p) { p.repetition_penalty = 0; }, "repetition_penalty is 0"},
      {[](auto& p) { p.repetition_penalty = 1e300; }, "repetition_penalty is 1e+300"},
      {[](auto& p) { p.presence_penalty = 2.5; }, "presence_penalty is 2.5"},
      {[](auto& p) { p.frequency_penalty = -INFINITY; }, "frequency_penalty is -inf"},
      {[](auto& p) {
         p.logit_bias = {{1000, 1.0f}};
       },
       "token 1000; the vocabulary has ids 0 to 999"},
      {[](auto& p) {
         p.logit_bias = {{-1, 1.0f}};
       },
       "token -1"},
      {[](auto& p) {
         p.logit_bias = {{7, NAN}};
       },
       "logit_bias of token 7 is nan"},
      {[](auto& p) {
         p.logit_bias = {{7, 101.0f}};
       },
       "logit_bias of token 7 is 101"},
      {[](auto& p) {
         p.logit_bias = {{7, 1.0f}, {8, 1.0f}, {7, 2.0f}};
       },
       "token 7 twice"},
      {[](auto& p) {
         p.logit_bias.assign(1025, {1, 1.0f});
       },
       "logit_bias has 1025 entries"},
      {[](auto& p) { p.stop.assign(10000, "x"); }, "10000 stop strings"},
      {[](auto& p) {
         p.stop = {"ok", ""};
       },
       "stop string 1 is empty"},
      {[](auto& p) { p.stop = {std::string(1025, 'x')}; }, "1025 bytes"},
      {[](auto& p) { p.max_tokens = -1; }, "max_tokens is -1"},
      {[](auto& p) { p.max_tokens = 0; }, "max_tokens is 0"},
      {[](auto& p) { p.max_tokens = INT64_MAX; }, "max_tokens is 9223372036854775807"},
  };
  for (const Bad& bad : cases) {
    SamplingParams params;
    bad.change(params);
    const Status status = Validate(params, kVocab);
    ASSERT_FALSE(status.has_value()) << bad.says;
    EXPECT_EQ(status.error().code, Code::kInvalidArgument);
    EXPECT_THAT(status.error().message, HasSubstr(bad.says));
  }
}

}  // namespace
}  // namespace hadal
