// The exact shapes of /v1/chat/completions.
#include "server/openai/openai_test_util.h"

namespace hadal::openai {
namespace {

const std::string kWeather =
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Bern\"}<｜tool▁call▁end｜>"
    "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
const std::string kTools =
    R"(, "tools": [{"type": "function", "function": {"name": "weather", "description": "of a city",)"
    R"( "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}])";

/// The deltas of a stream, added up as clients do.
struct Added {
  std::string content, reasoning, finish;
  Ordered calls = Ordered::array();
  std::vector<int32_t> ids;
};
Added AddUp(const RecordingWriter& writer, int index = 0) {
  Added all;
  for (const std::string& event : writer.Events()) {
    if (event == "[DONE]") continue;
    const Ordered choices = Ordered::parse(event)["choices"];
    for (const Ordered& choice : choices) {
      if (choice["index"] != index) continue;
      const Ordered& delta = choice["delta"];
      all.content += delta.value("content", "");
      all.reasoning += delta.value("reasoning_content", "");
      const auto calls = delta.value("tool_calls", Ordered::array());
      for (const Ordered& call : calls) all.calls.push_back(call);
      const auto ids = choice.value("token_ids", std::vector<int32_t>());
      all.ids.insert(all.ids.end(), ids.begin(), ids.end());
      if (!choice["finish_reason"].is_null()) all.finish = choice["finish_reason"];
    }
  }
  return all;
}

TEST(ChatApi, WholeAnswer) {
  Api api;
  const auto writer = api.Chat(Hello());
  EXPECT_EQ(writer->status, 0);
  ASSERT_EQ(api.backend.requests.size(), 1u);
  const GenerationRequest& request = api.backend.requests[0];
  EXPECT_EQ(request.prompt, api.Ids("<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜></think>"));
  EXPECT_EQ(request.stop_ids, std::vector<int64_t>{1});
  EXPECT_EQ(request.params.max_tokens, 4096 - static_cast<int64_t>(request.prompt.size()));
  EXPECT_EQ(request.logprobs, -1);
  const auto answer = api.Ids("Hi \"you\" é");
  api.backend.Play(0, answer);
  EXPECT_EQ(writer->status, 200);
  EXPECT_EQ(writer->headers["Content-Type"], "application/json");
  const auto body = Ordered::parse(writer->body);
  EXPECT_EQ(body["id"].get<std::string>().size(), std::string("chatcmpl-").size() + 24);
  const auto count = std::to_string(answer.size()), prompt = std::to_string(request.prompt.size());
  const auto total = std::to_string(answer.size() + request.prompt.size());
  EXPECT_EQ(Stable(body).dump(),
            R"({"id":"chatcmpl","object":"chat.completion","created":0,"model":"deep","choices":[{"index":0,)"
            R"("message":{"role":"assistant","content":"Hi \"you\" é","refusal":null},"logprobs":null,)"
            R"("finish_reason":"stop"}],"usage":{"prompt_tokens":)" +
                prompt + R"(,"completion_tokens":)" + count + R"(,"total_tokens":)" + total +
                R"(,"prompt_tokens_details":{"cached_tokens":1}}})");
}

TEST(ChatApi, Stream) {
  Api api;
  const auto writer = api.Chat(Hello(R"(, "stream": true, "stream_options": {"include_usage": true})"));
  EXPECT_EQ(writer->status, 200);
  EXPECT_EQ(writer->headers["Content-Type"], "text/event-stream; charset=utf-8");
  EXPECT_EQ(writer->headers["Cache-Control"], "no-cache");
  api.backend.Token(0, api.Ids("a")[0]);
  EXPECT_EQ(writer->writes, 1) << "every token goes out when it comes";
  api.backend.Token(0, api.Ids("b")[0]);
  api.backend.End(0, FinishReason::kStop);
  ASSERT_TRUE(writer->ended);
  const auto events = writer->Events();
  ASSERT_EQ(events.size(), 5u);
  const std::string head =
      R"({"id":"chatcmpl","object":"chat.completion.chunk","created":0,"model":"deep","choices":[)";
  const auto choice = [&](const std::string& delta, const std::string& finish) {
    return head + R"({"index":0,"delta":{)" + delta + R"(},"logprobs":null,"finish_reason":)" + finish +
           R"(}],"usage":null})";
  };
  EXPECT_EQ(Stable(Ordered::parse(events[0])).dump(), choice(R"("role":"assistant","content":"a")", "null"));
  EXPECT_EQ(Stable(Ordered::parse(events[1])).dump(), choice(R"("content":"b")", "null"));
  EXPECT_EQ(Stable(Ordered::parse(events[2])).dump(), choice("", R"("stop")"));
  const std::string prompt = std::to_string(api.backend.requests[0].prompt.size());
  const std::string total = std::to_string(api.backend.requests[0].prompt.size() + 2);
  EXPECT_EQ(Stable(Ordered::parse(events[3])).dump(),
            head + R"(],"usage":{"prompt_tokens":)" + prompt + R"(,"completion_tokens":2,"total_tokens":)" +
                total + R"(,"prompt_tokens_details":{"cached_tokens":1}}})");
  EXPECT_EQ(events[4], "[DONE]");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Ordered::parse(events[i])["id"], Ordered::parse(events[0])["id"]);
}

TEST(ChatApi, StreamWithoutUsageHasNone) {
  Api api;
  const auto writer = api.Chat(Hello(R"(, "stream": true)"));
  api.backend.Play(0, api.Ids("ab"));
  EXPECT_EQ(writer->body.find("usage"), std::string::npos);
  EXPECT_EQ(writer->Events().back(), "[DONE]");
}

TEST(ChatApi, CharactersAreNeverCut) {
  Api api;
  const auto ids = api.Ids("é🙂");
  ASSERT_GT(ids.size(), 2u) << "the point is characters of several tokens";
  const auto writer = api.Chat(Hello(R"(, "stream": true, "return_token_ids": true)"));
  api.backend.Play(0, ids);
  EXPECT_EQ(AddUp(*writer).content, "é🙂");
  EXPECT_EQ(AddUp(*writer).ids, ids);
  EXPECT_EQ(writer->body.find("\uFFFD"), std::string::npos);
}

TEST(ChatApi, FinishReasons) {
  for (const auto& [reason, word] : std::map<FinishReason, std::string>{{FinishReason::kStop, "stop"},
                                                                        {FinishReason::kLength, "length"},
                                                                        {FinishReason::kContext, "length"}}) {
    Api api;
    const auto writer = api.Chat(Hello());
    api.backend.Token(0, api.Ids("a")[0], /*last=*/true, reason);
    EXPECT_EQ(Ordered::parse(writer->body)["choices"][0]["finish_reason"], word);
    EXPECT_EQ(Ordered::parse(writer->body)["choices"][0]["message"]["content"], "a");
  }
}

TEST(ChatApi, Reasoning) {
  Api api;
  const std::string thinking = R"(, "chat_template_kwargs": {"thinking": true})";
  const auto whole = api.Chat(Hello(thinking));
  const auto stream = api.Chat(Hello(thinking + R"(, "stream": true)"));
  EXPECT_EQ(api.backend.requests[0].prompt,
            api.Ids("<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜><think>"));
  for (size_t i : {0, 1}) api.backend.Play(i, api.Ids("I think\nso\n</think>\n\nYes"));
  const auto message = Ordered::parse(whole->body)["choices"][0]["message"];
  EXPECT_EQ(message.dump(),
            R"({"role":"assistant","reasoning_content":"I think\nso","content":"Yes","refusal":null})");
  EXPECT_EQ(AddUp(*stream).reasoning, "I think\nso");
  EXPECT_EQ(AddUp(*stream).content, "Yes");
}

TEST(ChatApi, ToolCalls) {
  Api api;
  const auto whole = api.Chat(Hello(kTools));
  const auto stream = api.Chat(Hello(kTools + R"(, "stream": true)"));
  for (size_t i : {0, 1}) api.backend.Play(i, api.Ids(kWeather));
  const auto choice = Ordered::parse(whole->body)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  const Ordered& calls = choice["message"]["tool_calls"];
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0]["type"], "function");
  EXPECT_EQ(calls[0]["function"].dump(), R"({"name":"weather","arguments":"{\"city\": \"Bern\"}"})");
  EXPECT_EQ(calls[0]["id"].get<std::string>().substr(0, 5), "call_");
  EXPECT_NE(calls[0]["id"], calls[1]["id"]);

  const Added added = AddUp(*stream);
  EXPECT_EQ(added.finish, "tool_calls");
  EXPECT_EQ(added.content, "");
  ASSERT_EQ(added.calls.size(), 2u);
  EXPECT_EQ(added.calls[0]["index"], 0);
  EXPECT_EQ(added.calls[1]["index"], 1);
  EXPECT_EQ(added.calls[1]["function"].dump(), R"({"name":"now","arguments":"{}"})");
}

TEST(ChatApi, MarkupOfCallsIsTextWhereNoToolWasOffered) {
  Api api;
  const auto without = api.Chat(Hello()), none = api.Chat(Hello(kTools + R"(, "tool_choice": "none")"));
  for (size_t i : {0, 1}) api.backend.Play(i, api.Ids(kWeather));
  EXPECT_EQ(api.backend.requests[0].prompt, api.backend.requests[1].prompt);
  for (const auto& writer : {without, none}) {
    const auto choice = Ordered::parse(writer->body)["choices"][0];
    EXPECT_EQ(choice["message"]["content"], kWeather);
    EXPECT_EQ(choice["finish_reason"], "stop");
  }
}

TEST(ChatApi, ToolsAreDescribedToModelsWhoseTemplateDoesNot) {
  Api api;
  api.Chat(Hello(kTools));
  const std::string prompt = api.context.tokenizer.Decode(api.backend.requests[0].prompt).value();
  EXPECT_TRUE(prompt.starts_with("<｜begin▁of▁sentence｜>## Tools\n")) << prompt;
  EXPECT_NE(prompt.find("### weather\nDescription: of a city\n\nParameters: {\"type\": \"object\""),
            prompt.npos)
      << prompt;
  // The markers that show the form are the model's own tokens.
  const auto& ids = api.backend.requests[0].prompt;
  EXPECT_NE(std::find(ids.begin(), ids.end(), api.context.tokenizer.IdOf("<｜tool▁calls▁begin｜>").value()),
            ids.end());
}

TEST(ChatApi, SeveralChoices) {
  Api api;
  const auto writer = api.Chat(Hello(R"(, "n": 3, "seed": 5, "return_token_ids": true)"));
  ASSERT_EQ(api.backend.requests.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(api.backend.requests[i].params.seed, 5 + i);
  for (size_t i : {2, 0, 1}) {
    EXPECT_FALSE(writer->ended);
    api.backend.Play(i, api.Ids(std::string(i + 1, 'a')));
  }
  const auto body = Ordered::parse(writer->body);
  ASSERT_EQ(body["choices"].size(), 3u);
  int64_t tokens = 0;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["message"]["content"], std::string(i + 1, 'a'));
    EXPECT_EQ(body["choices"][i]["token_ids"], Ordered(api.Ids(std::string(i + 1, 'a'))));
    tokens += static_cast<int64_t>(api.Ids(std::string(i + 1, 'a')).size());
  }
  EXPECT_EQ(body["usage"]["completion_tokens"], tokens);
  EXPECT_EQ(body["usage"]["prompt_tokens"], api.backend.requests[0].prompt.size());
}

TEST(ChatApi, Logprobs) {
  Api api;
  const auto plain = api.Chat(Hello(R"(, "logprobs": true)"));
  const auto top = api.Chat(Hello(R"(, "logprobs": true, "top_logprobs": 2)"));
  const auto stream = api.Chat(Hello(R"(, "logprobs": true, "stream": true)"));
  EXPECT_EQ(api.backend.requests[0].logprobs, 0);
  EXPECT_EQ(api.backend.requests[1].logprobs, 2);
  for (size_t i : {0, 1, 2}) api.backend.Play(i, api.Ids("a"));
  EXPECT_EQ(Ordered::parse(plain->body)["choices"][0]["logprobs"].dump(),
            R"({"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}],"refusal":null})");
  EXPECT_EQ(Ordered::parse(top->body)["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0].dump(),
            R"({"token":"a","logprob":-0.5,"bytes":[97]})");
  EXPECT_EQ(Ordered::parse(stream->Events()[0])["choices"][0]["logprobs"]["content"][0]["token"], "a");
}

TEST(ChatApi, ParametersReachTheEngine) {
  Api api;
  api.context.defaults.temperature = 0.6;
  api.context.defaults.top_p = 0.95;
  api.Chat(Hello(
      R"(, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.5, "presence_penalty": 0.25, )"
      R"("frequency_penalty": -1, "logit_bias": {"5": -100, "7": 2.5}, "seed": -3, "max_tokens": 9, )"
      R"("max_completion_tokens": 8, "ignore_eos": true, "priority": -4, "stop_token_ids": [9], )"
                 R"("top_p": null, )"
      R"("user": "u", "store": false, "made_up": [1])"));
  ASSERT_EQ(api.backend.requests.size(), 1u);
  const GenerationRequest& request = api.backend.requests[0];
  const SamplingParams& params = request.params;
  EXPECT_EQ(params.temperature, 0.6);
  EXPECT_EQ(params.top_p, 0.95);
  EXPECT_EQ(params.top_k, 7);
  EXPECT_EQ(params.min_p, 0.1);
  EXPECT_EQ(params.repetition_penalty, 1.5);
  EXPECT_EQ(params.presence_penalty, 0.25);
  EXPECT_EQ(params.frequency_penalty, -1);
  EXPECT_EQ(params.logit_bias, (std::vector<std::pair<int32_t, float>>{{5, -100}, {7, 2.5}}));
  EXPECT_EQ(params.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(params.max_tokens, 8);
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_EQ(request.priority, -4);
  EXPECT_EQ(request.stop_ids, (std::vector<int64_t>{1, 9}));
  api.Chat(Hello());
  api.Chat(Hello());
  EXPECT_NE(api.backend.requests[1].params.seed, api.backend.requests[2].params.seed);
}

TEST(ChatApi, ContentInPartsAndTurnsOfTools) {
  Api api;
  api.Chat(R"({"model": "deep", "messages": [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "time?"}]},
    {"role": "assistant", "content": "", "tool_calls": [
      {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "12:00"},
    {"role": "user", "content": "Thanks"}]})");
  ASSERT_EQ(api.backend.requests.size(), 1u);
  EXPECT_EQ(
      api.context.tokenizer.Decode(api.backend.requests[0].prompt).value(),
      "<｜begin▁of▁sentence｜>Be brief.<｜User｜>What time?<｜Assistant｜></think><｜tool▁calls▁begin｜>"
      "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
      "<｜tool▁output▁begin｜>12:00<｜tool▁output▁end｜><｜User｜>Thanks<｜Assistant｜></think>");
}

}  // namespace
}  // namespace hadal::openai
