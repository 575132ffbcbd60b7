// The life of a call: stops, cancellations, failures, and who is told.
#include "server/api/call.h"

#include <gtest/gtest.h>

#include <thread>

#include "server/openai/openai_test_util.h"

namespace hadal::openai {
namespace {

TEST(Call, StopStringsEndAndCancelAcrossTokens) {
  Api api;
  const auto whole = api.Chat(Hello(R"(, "stop": ["END", "x"], "return_token_ids": true)"));
  const auto stream = api.Chat(Hello(R"(, "stop": "END", "stream": true)"));
  const std::vector<int32_t> ids{api.Ids("a")[0], api.Ids("E")[0], api.Ids("N")[0], api.Ids("D")[0],
                                 api.Ids("b")[0]};
  for (size_t i : {0, 1}) {
    for (size_t k = 0; k < 4; ++k) {
      EXPECT_TRUE(api.backend.cancelled.size() == i);
      api.backend.Token(i, ids[k]);
    }
    EXPECT_EQ(api.backend.cancelled.size(), i + 1);
    EXPECT_EQ(api.backend.cancelled.back(), i + 1);
    EXPECT_EQ(api.backend.stopped.size(), i + 1) << "the request counts as stopped, not as cancelled";
    api.backend.Token(i, ids[4]);  // was on its way
    api.backend.End(i, FinishReason::kCancelled);
  }
  const auto body = Ordered::parse(whole->body);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "a");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["choices"][0]["token_ids"].size(), 4u);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  EXPECT_EQ(stream->body.find("END"), std::string::npos);
  EXPECT_EQ(stream->Events().back(), "[DONE]");
  EXPECT_TRUE(stream->ended);
}

TEST(Call, TextHeldForAStopStringComesAtTheEnd) {
  Api api;
  const auto writer = api.Chat(Hello(R"(, "stop": "END")"));
  for (const char* text : {"a", "E", "N"}) api.backend.Token(0, api.Ids(text)[0]);
  api.backend.End(0, FinishReason::kLength);
  EXPECT_EQ(Ordered::parse(writer->body)["choices"][0]["message"]["content"], "aEN");
  EXPECT_TRUE(api.backend.cancelled.empty());
}

TEST(Call, ClientsThatLeaveFreeTheirRequests) {
  for (const std::string stream : {"true", "false"}) {
    Api api;
    const auto writer = api.Chat(Hello(R"(, "n": 2, "stream": )" + stream));
    api.backend.Token(0, api.Ids("a")[0]);
    const std::string before = writer->body;
    writer->disconnect();
    EXPECT_EQ(api.backend.cancelled, (std::vector<RequestId>{1, 2}));
    api.backend.Token(1, api.Ids("a")[0]);
    for (size_t i : {0, 1}) api.backend.End(i, FinishReason::kCancelled);
    EXPECT_EQ(writer->body, before);
    EXPECT_FALSE(writer->ended);
    api.backend.requests.clear();
    EXPECT_EQ(writer.use_count(), 1) << "the call is gone";
    writer->disconnect();  // and a late word of it harmless
  }
}

TEST(Call, WholeResponsesHaveARoomTogether) {
  Api api;
  api.context.responses = std::make_shared<ByteRoom>(3 * kFairResponseBytes);
  const int32_t id = api.Ids("a")[0];
  const auto play = [&](size_t request, size_t tokens) {
    for (size_t i = 0; i < tokens; ++i) api.backend.Token(request, id);
  };
  const size_t each = sizeof(TokenLogprob) + 20 * sizeof(std::pair<int32_t, double>);
  const std::string asks = R"(, "logprobs": true, "top_logprobs": 20)";
  const auto large = api.Chat(Hello(asks)), second = api.Chat(Hello(asks)), stream = api.Chat(Hello(R"(, "stream": true)"));
  play(0, 1);
  EXPECT_GT(api.context.responses->used(), 0u);
  const size_t share = api.context.responses->used();
  EXPECT_LT(share, each + 2);
  play(0, 2 * kFairResponseBytes / share);
  play(1, kFairResponseBytes / share);
  EXPECT_EQ(second->status, 0) << "a fair part is always there";
  play(2, 10);
  EXPECT_FALSE(stream->ended) << "streams hold nothing";
  play(1, kFairResponseBytes / share);
  EXPECT_EQ(second->status, 503);
  EXPECT_EQ(second->headers["Retry-After"], "1");
  EXPECT_NE(second->body.find("too many long responses"), std::string::npos) << second->body;
  EXPECT_EQ(api.backend.cancelled, std::vector<RequestId>{2});
  api.backend.End(0, FinishReason::kStop);
  EXPECT_EQ(large->status, 200);
  api.backend.requests.clear();  // and the calls with them
  EXPECT_EQ(api.context.responses->used(), 0u);
  const auto next = api.Chat(Hello(asks));
  api.backend.Play(0, {id});
  EXPECT_EQ(next->status, 200);
}

TEST(Call, SlowReadersAreLetGo) {
  Api api;
  const auto writer = api.Chat(Hello(R"(, "stream": true)"));
  writer->gone = true;
  api.backend.Token(0, api.Ids("a")[0]);
  EXPECT_EQ(api.backend.cancelled, std::vector<RequestId>{1});
}

TEST(Call, AChoiceThatIsNotAcceptedEndsTheOthers) {
  Api api;
  api.backend.accept = 2;
  const auto writer = api.Chat(Hello(R"(, "n": 3, "stream": true)"));
  EXPECT_EQ(writer->status, 429);
  EXPECT_EQ(api.backend.cancelled, (std::vector<RequestId>{1, 2}));
  for (size_t i : {0, 1}) api.backend.End(i, FinishReason::kCancelled);
  EXPECT_TRUE(writer->ended);
}

/// Delivers before Submit returns, as a fast engine may.
class HastyBackend final : public Backend {
 public:
  Result<RequestId> Submit(GenerationRequest request) override {
    std::thread([&] {
      for (const int32_t token : tokens) {
        TokenEvent event;
        event.token = token;
        request.deliver(event, {1, 0, 1});
      }
      TokenEvent end;
      end.finished = true;
      end.reason = reason;
      end.error = {Code::kDataLoss, "logits are NaN"};
      request.deliver(end, {1, 0, 1});
    }).join();
    return 7;
  }
  void Cancel(RequestId id) override { cancelled.push_back(id); }
  std::vector<int32_t> tokens;
  std::vector<RequestId> cancelled;
  FinishReason reason = FinishReason::kStop;
};

TEST(Call, TokensMayComeBeforeSubmitReturns) {
  Api api;
  HastyBackend hasty;
  hasty.tokens = api.Ids("aEb");
  api.context.backend = &hasty;
  const auto stream = api.Chat(Hello(R"(, "stream": true, "n": 2)"));
  EXPECT_EQ(stream->status, 200);
  EXPECT_EQ(stream->Events().back(), "[DONE]");
  EXPECT_TRUE(hasty.cancelled.empty());
  const auto stopped = api.Chat(Hello(R"(, "stop": "E")"));
  EXPECT_EQ(Ordered::parse(stopped->body)["choices"][0]["message"]["content"], "a");
  EXPECT_EQ(hasty.cancelled, std::vector<RequestId>{7}) << "the id was not known yet when it stopped";
  hasty.reason = FinishReason::kError;
  EXPECT_EQ(api.Chat(Hello(R"(, "stream": true)"))->status, 500);
}

TEST(Call, FailuresOfTheEngine) {
  Api api;
  const auto whole = api.Chat(Hello(R"(, "n": 2)"));
  const auto stream = api.Chat(Hello(R"(, "stream": true)"));
  for (size_t i : {0, 2}) {
    api.backend.Token(i, api.Ids("a")[0]);
    api.backend.End(i, FinishReason::kError, {Code::kDataLoss, "logits are NaN"});
  }
  EXPECT_EQ(whole->status, 500);
  EXPECT_EQ(Ordered::parse(whole->body)["error"]["message"], "logits are NaN");
  EXPECT_EQ(api.backend.cancelled[1], 2u) << "the other choice";
  const auto events = stream->Events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(Ordered::parse(events[1]).dump(),
            R"({"error":{"message":"logits are NaN","type":"server_error","param":null,"code":null}})");
  EXPECT_TRUE(stream->ended);
}

TEST(Call, ShutdownTellsTheClient) {
  Api api;
  const auto writer = api.Chat(Hello());
  api.backend.End(0, FinishReason::kCancelled);
  EXPECT_EQ(writer->status, 503);
}

TEST(Call, CostsAreReportedOnceAChoiceAndThePromptWithTheFirst) {
  Api api;
  std::vector<std::pair<bool, int64_t>> costs;
  api.context.on_usage = [&](const Identity* who, const Usage& usage) {
    EXPECT_EQ(who, nullptr);
    costs.emplace_back(usage.prompt > 0, usage.generated);
  };
  api.Chat(Hello(R"(, "n": 2)"));
  for (size_t i : {0, 1}) api.backend.Play(i, {5, 6});
  EXPECT_EQ(costs, (std::vector<std::pair<bool, int64_t>>{{true, 2}, {false, 2}}));
}

TEST(Call, APromptThatNeverRanCostsNothing) {
  Api api;
  std::vector<std::pair<bool, int64_t>> costs;
  api.context.on_usage = [&](const Identity*, const Usage& usage) {
    costs.emplace_back(usage.prompt > 0, usage.generated);
  };
  api.Chat(Hello(R"(, "n": 3)"));
  api.backend.End(0, FinishReason::kCancelled);  // while it waited
  EXPECT_EQ(costs.back(), std::pair(false, int64_t{0}));
  api.backend.usages[1].queue_seconds = 0.1;
  api.backend.End(1, FinishReason::kCancelled);  // in its prompt
  EXPECT_EQ(costs.back(), std::pair(true, int64_t{0}));
  api.backend.Play(2, {5});
  EXPECT_EQ(costs.back(), std::pair(false, int64_t{1})) << "the prompt counts once";
}

TEST(Call, LargeBodiesRunElsewhere) {
  Api api;
  std::vector<std::function<void()>> tasks;
  bool full = false;
  api.context.run_elsewhere = [&](std::function<void()> task) {
    if (full) return false;
    tasks.push_back(std::move(task));
    return true;
  };
  api.Chat(Hello());
  EXPECT_EQ(api.backend.requests.size(), 1u);
  api.context.context = 1 << 20;
  const auto writer = api.Chat(Hello(R"(, "ignored": ")" + std::string(kInlineBodyBytes, 'x') + "\""));
  EXPECT_EQ(api.backend.requests.size(), 1u);
  ASSERT_EQ(tasks.size(), 1u);
  tasks[0]();
  ASSERT_EQ(api.backend.requests.size(), 2u);
  api.backend.Play(1, api.Ids("a"));
  EXPECT_EQ(writer->status, 200);
  full = true;
  const auto refused = api.Chat(Hello(R"(, "ignored": ")" + std::string(kInlineBodyBytes, 'x') + "\""));
  EXPECT_EQ(refused->status, 503) << refused->body;
  EXPECT_EQ(refused->headers["Retry-After"], "1");
  EXPECT_EQ(api.backend.requests.size(), 2u);
}

TEST(Call, WhatIsBufferedWholeIsBounded) {
  Api api;
  api.context.context = 1 << 20;
  const std::string large = R"(, "n": 5, "max_tokens": 100000, "logprobs": true, "top_logprobs": 20)";
  const auto refused = api.Chat(Hello(large));
  EXPECT_EQ(refused->status, 400);
  EXPECT_NE(refused->body.find("stream"), std::string::npos) << refused->body;
  EXPECT_TRUE(api.backend.requests.empty());
  api.Chat(Hello(large + R"(, "stream": true)"));
  EXPECT_EQ(api.backend.requests.size(), 5u) << "a stream is not kept";
  api.Chat(Hello(R"(, "n": 5, "max_tokens": 100000)"));
  EXPECT_EQ(api.backend.requests.size(), 10u);
}

TEST(Call, ATokenCostsLittle) {
  Api api;
  const auto writer = api.Chat(Hello(R"(, "stream": true)"));
  const int32_t token = api.Ids("a")[0];
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 10000; ++i) api.backend.Token(0, token);
  const double each = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / 10000;
  EXPECT_LT(each, 100e-6);
  RecordProperty("nanoseconds_a_token", static_cast<int>(each * 1e9));
}

}  // namespace
}  // namespace hadal::openai
