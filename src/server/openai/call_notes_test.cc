// What a call tells the access log and the metrics, however it ends.
#include <gtest/gtest.h>

#include "server/openai/openai_test_util.h"

namespace hadal::openai {
namespace {

/// Takes notes; the response itself is for other tests.
class NotedWriter final : public ResponseWriter {
 public:
  void Send(int, HttpHeaders, std::string) override {}
  void StartStream(int, HttpHeaders) override {}
  bool Write(std::string) override { return true; }
  void EndStream() override {}
  void OnDisconnect(std::function<void()> callback) override { disconnect = std::move(callback); }
  RequestNotes* notes() override { return &notes_; }
  std::function<void()> disconnect;

 private:
  RequestNotes notes_;
};

class CallNotes : public testing::Test {
 protected:
  void SetUp() override {
    api_.context.on_finish = [this](std::string_view reason) { ends_.emplace_back(reason); };
  }
  std::shared_ptr<NotedWriter> Chat(const std::string& more) {
    HttpRequest request;
    request.method = "POST";
    request.target = "/v1/chat/completions";
    request.headers.emplace_back("content-type", "application/json");
    request.body = Hello(more);
    auto writer = std::make_shared<NotedWriter>();
    for (const Route& route : api_.routes)
      if (route.path == request.target) route.handler(request, writer);
    return writer;
  }
  int32_t Id(const char* text) { return api_.Ids(text)[0]; }

  Api api_;
  std::vector<std::string> ends_;  // as on_finish was told of them
};

TEST_F(CallNotes, TokensOfAllChoicesAndThePromptOnce) {
  const auto writer = Chat(R"(, "n": 2)");
  const int64_t prompt = static_cast<int64_t>(api_.backend.requests[0].prompt.size());
  EXPECT_EQ(writer->notes()->prompt_tokens, -1);
  api_.backend.Token(0, Id("a"));
  const int64_t first = writer->notes()->first_token_ns;
  EXPECT_GT(first, 0);
  api_.backend.Token(0, Id("b"), true);
  api_.backend.Play(1, {Id("a"), Id("b"), Id("c")});
  const RequestNotes& notes = *writer->notes();
  EXPECT_EQ(notes.prompt_tokens, prompt);
  EXPECT_EQ(notes.cached_tokens, 1);
  EXPECT_EQ(notes.generated_tokens, 5);
  EXPECT_EQ(notes.first_token_ns, first);
  EXPECT_STREQ(notes.finish_reason, "stop");
  EXPECT_EQ(ends_, (std::vector<std::string>{"length", "stop"}));
}

TEST_F(CallNotes, AStopStringIsAStopAndWhatComesAfterItDoesNotCount) {
  const auto writer = Chat(R"(, "stop": "b")");
  api_.backend.Token(0, Id("a"));
  api_.backend.Token(0, Id("b"));
  api_.backend.Token(0, Id("c"));
  api_.backend.End(0, FinishReason::kCancelled);
  EXPECT_EQ(writer->notes()->generated_tokens, 2);
  EXPECT_STREQ(writer->notes()->finish_reason, "stop");
  EXPECT_EQ(ends_, std::vector<std::string>{"stop"});
}

TEST_F(CallNotes, ClientsThatLeaveAndFailuresHaveWordsOfTheirOwn) {
  auto writer = Chat(R"(, "stream": true)");
  api_.backend.Token(0, Id("a"));
  writer->disconnect();
  api_.backend.End(0, FinishReason::kCancelled);
  EXPECT_STREQ(writer->notes()->finish_reason, "cancelled");
  EXPECT_EQ(writer->notes()->generated_tokens, 1);
  writer = Chat(R"(, "n": 2)");
  api_.backend.End(1, FinishReason::kError, {Code::kInternal, "broken"});
  api_.backend.End(2, FinishReason::kCancelled);
  EXPECT_EQ(ends_, (std::vector<std::string>{"cancelled", "error", "cancelled"}));
}

TEST_F(CallNotes, AnAnswerThatEndsWhereNoRoomIsLeftIsCountedOnce) {
  api_.context.responses = std::make_shared<ByteRoom>(0);
  const auto writer = Chat(R"(, "logprobs": true, "top_logprobs": 20)");
  api_.backend.Token(0, Id("a"));
  const size_t each = api_.context.responses->used();
  for (size_t i = 1; i < kFairResponseBytes / each; ++i) api_.backend.Token(0, Id("a"));
  EXPECT_TRUE(ends_.empty());
  api_.backend.Token(0, Id("a"), true);
  EXPECT_EQ(ends_, std::vector<std::string>{"length"});
}

}  // namespace
}  // namespace hadal::openai
