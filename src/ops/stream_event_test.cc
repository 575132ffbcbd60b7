#include "ops/stream_event.h"

#include <gtest/gtest.h>

#include "ops/answer_stream.h"

namespace hadal {
namespace {

StreamEvent Parse(std::string_view data) {
  const Result<StreamEvent> event = StreamEventParser().Parse(data);
  EXPECT_TRUE(event) << event.error().message;
  return event.value_or(StreamEvent{});
}

TEST(StreamEvent, ReadsWhatEachServerSends) {
  // hadal
  StreamEvent event =
      Parse(R"({"choices":[{"index":0,"text":"a","logprobs":null,"token_ids":[5,6],"finish_reason":null}],)"
            R"("usage":null})");
  EXPECT_TRUE(event.text);
  EXPECT_EQ(event.token_ids, 2);
  EXPECT_FALSE(event.finished);
  EXPECT_EQ(event.usage.generated, -1);
  // OpenAI, vLLM: the role first, usage last and without choices
  event = Parse(R"({"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]})");
  EXPECT_FALSE(event.text || event.finished);
  event = Parse(R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,)"
                R"("prompt_tokens_details":{"cached_tokens":8}}})");
  EXPECT_EQ(event.usage.prompt, 9);
  EXPECT_EQ(event.usage.generated, 4);
  EXPECT_EQ(event.usage.cached, 8);
  // vLLM: details may be null, reasoning of its own
  event = Parse(R"({"choices":[{"delta":{"reasoning_content":"hm"}}],)"
                R"("usage":{"prompt_tokens":1,"prompt_tokens_details":null}})");
  EXPECT_TRUE(event.text);
  EXPECT_EQ(event.usage.prompt, 1);
  // tool calls
  EXPECT_TRUE(Parse(R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})").text);
  // llama.cpp: null content with the role, timings instead of usage
  event = Parse(R"({"choices":[{"finish_reason":"stop","index":0,"delta":{"content":null}}],)"
                R"("timings":{"predicted_n":3}})");
  EXPECT_FALSE(event.text);
  EXPECT_TRUE(event.finished);
}

TEST(StreamEvent, ReadsErrorsOfAnyForm) {
  EXPECT_EQ(Parse(R"({"error":{"message":"no memory","code":500}})").error, "no memory");
  EXPECT_EQ(Parse(R"({"object":"error","message":"gone"})").error, "gone");
  EXPECT_EQ(Parse(R"({"error":"plain"})").error, "plain");
  EXPECT_FALSE(Parse(R"({"error":{}})").error.empty());
  EXPECT_TRUE(Parse(R"({"error":null,"choices":[]})").error.empty());
  for (const char* bad : {"", "nonsense", "[1]", "\"x\"", "{\"a\":", "{\"a\":\"\xff\"}"})
    EXPECT_FALSE(StreamEventParser().Parse(bad)) << bad;
}

TEST(StreamEvent, RefusalsMoveNoCursor) {
  EXPECT_EQ(RefusalText(R"({"detail":[{"msg":"x"}]})"), R"([{"msg":"x"}])");
  EXPECT_EQ(RefusalText("plain\x1b[2J\n text"), "plain [2J  text");
  EXPECT_EQ(RefusalText("a\xc2\x9b"
                        "b"),
            "a b");
  EXPECT_LE(RefusalText(std::string(5000, 'y')).size(), 300u);
}

/// Feeds an answer in parts of `size` bytes.
AnswerRecord Read(const std::string& body, size_t size, int status = 200) {
  AnswerStream stream;
  AnswerRecord record;
  stream.on_end = [&](const AnswerRecord& ended) { record = ended; };
  const auto now = LoadClient::Clock::now();
  stream.Begin(now, now);
  for (size_t at = 0; at < body.size(); at += size)
    if (stream.OnBytes(status, std::string_view(body).substr(at, size)) != Reading::kGoOn) break;
  stream.OnEnd({.status = status});
  return record;
}

TEST(AnswerStream, CountsTheSameHoweverTheBytesCome) {
  const std::string body =
      "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n"
      "data: [DONE]\n\n";
  for (size_t size = 1; size <= body.size(); ++size) {
    const AnswerRecord record = Read(body, size);
    ASSERT_EQ(record.error, "") << size;
    EXPECT_EQ(record.events, 2);
    EXPECT_EQ(record.tokens(), 5);
    EXPECT_EQ(record.usage.prompt, 3);
  }
}

TEST(AnswerStream, NamesHowAnAnswerFails) {
  const std::string piece = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
  EXPECT_EQ(Read(piece, 9).error, "cut off");
  EXPECT_EQ(Read(piece + "data: {\"error\":{\"message\":\"m\"}}\n\n", 9).error, "error event");
  EXPECT_EQ(Read(piece + "data: {{\n\n", 9).error, "bad stream");
  EXPECT_EQ(Read("{\"error\":{\"message\":\"m\"}}", 9, 429).error, "http 429");
  EXPECT_EQ(Read("{\"error\":{\"message\":\"m\"}}", 9, 429).detail, "m");
  EXPECT_EQ(Read("<html>", 9).error, "cut off");
  // Without [DONE], as some servers end; and an answer of which nothing can be shown.
  const AnswerRecord silent =
      Read("data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n", 9);
  EXPECT_EQ(silent.error, "");
  EXPECT_EQ(silent.events, 1);
  EXPECT_NE(silent.first, LoadClient::Clock::time_point{});
}

}  // namespace
}  // namespace hadal
