// The exact shapes of /v1/completions, /v1/models, /v1/tokenize and /v1/detokenize.
#include "server/openai/openai_test_util.h"

namespace hadal::openai {
namespace {

std::string Prompt(const std::string& prompt, const std::string& more = {}) {
  return R"({"model": "deep", "prompt": )" + prompt + more + "}";
}

TEST(CompletionApi, WholeAnswer) {
  Api api;
  const auto writer = api.Complete(Prompt(R"("ab")"));
  ASSERT_EQ(api.backend.requests.size(), 1u);
  EXPECT_EQ(api.backend.requests[0].prompt, api.Ids("<｜begin▁of▁sentence｜>ab"));
  EXPECT_EQ(api.backend.requests[0].params.max_tokens, 16);
  api.backend.Token(0, api.Ids("c")[0], /*last=*/true, FinishReason::kLength);
  EXPECT_EQ(
      Stable(Ordered::parse(writer->body)).dump(),
      R"({"id":"cmpl","object":"text_completion","created":0,"model":"deep",)"
            R"("choices":[{"index":0,"text":"c",)"
      R"("logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":2,"completion_tokens":1,)"
      R"("total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}})");
}

TEST(CompletionApi, Stream) {
  Api api;
  const auto writer = api.Complete(Prompt(R"("ab")", R"(, "stream": true, "return_token_ids": true)"));
  const int32_t c = api.Ids("c")[0];
  api.backend.Play(0, {c});
  const auto events = writer->Events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(
      Stable(Ordered::parse(events[0])).dump(),
      R"({"id":"cmpl","object":"text_completion","created":0,"model":"deep",)"
            R"("choices":[{"index":0,"text":"c",)"
      R"("logprobs":null,"token_ids":[)" +
          std::to_string(c) + R"(],"finish_reason":null}]})");
  EXPECT_EQ(Ordered::parse(events[1])["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events[2], "[DONE]");
}

TEST(CompletionApi, EveryKindOfPrompt) {
  Api api;
  api.Complete(Prompt("[5, 6, 7]"));
  EXPECT_EQ(api.backend.requests[0].prompt, (std::vector<int32_t>{5, 6, 7})) << "ids are taken as they are";
  const auto lists = api.Complete(Prompt("[[5], [6, 7]]", R"(, "n": 2, "seed": 9)"));
  ASSERT_EQ(api.backend.requests.size(), 5u);
  EXPECT_EQ(api.backend.requests[2].prompt, std::vector<int32_t>{5});
  EXPECT_EQ(api.backend.requests[3].prompt, (std::vector<int32_t>{6, 7}));
  EXPECT_EQ(api.backend.requests[4].params.seed, 10u);
  for (size_t i = 1; i < 5; ++i) api.backend.Play(i, api.Ids(std::string(1, static_cast<char>('a' + i))));
  const auto body = Ordered::parse(lists->body);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], std::string(1, static_cast<char>('b' + i)));
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3) << "each prompt once";
  api.Complete(Prompt(R"(["a", "<｜User｜>b"])", R"(, "add_special_tokens": false)"));
  EXPECT_EQ(api.backend.requests[5].prompt, api.Ids("a"));
  EXPECT_EQ(api.backend.requests[6].prompt, api.Ids("<｜User｜>b"));
  api.Complete(Prompt(R"("<｜begin▁of▁sentence｜>a")"));
  EXPECT_EQ(api.backend.requests[7].prompt, api.Ids("<｜begin▁of▁sentence｜>a")) << "not twice";
}

TEST(CompletionApi, Logprobs) {
  Api api;
  const auto writer = api.Complete(Prompt(R"("ab")", R"(, "logprobs": 2)"));
  const auto ids = api.Ids("é");
  ASSERT_EQ(ids.size(), 2u);
  api.backend.Play(0, {ids[0], ids[1], api.Ids("c")[0]});
  const auto choice = Ordered::parse(writer->body)["choices"][0];
  EXPECT_EQ(choice["text"], "éc");
  EXPECT_EQ(
      choice["logprobs"].dump(),
      R"({"tokens":["bytes:\\xc3","bytes:\\xa9","c"],"token_logprobs":[-0.5,-0.5,-0.5],"top_logprobs":[)"
      R"({"bytes:\\xc3":-0.5,"<｜begin▁of▁sentence｜>":-2.25},)"
            R"({"bytes:\\xa9":-0.5,"<｜begin▁of▁sentence｜>":-2.25},)"
      R"({"c":-0.5,"<｜begin▁of▁sentence｜>":-2.25}],"text_offset":[0,1,1]})");
}

TEST(CompletionApi, Echo) {
  Api api;
  const auto whole = api.Complete(Prompt(R"("ab")", R"(, "echo": true)"));
  const auto stream = api.Complete(Prompt(R"("ab")", R"(, "echo": true, "stream": true)"));
  for (size_t i : {0, 1}) api.backend.Play(i, api.Ids("c"));
  EXPECT_EQ(Ordered::parse(whole->body)["choices"][0]["text"], "abc");
  EXPECT_EQ(Ordered::parse(stream->Events()[0])["choices"][0]["text"], "abc");
  EXPECT_EQ(api.Complete(Prompt(R"("ab")", R"(, "echo": true, "logprobs": 1)"))->status, 400);
}

TEST(CompletionApi, SpecialTokensAreLeftOutAndUnknownIdsShown) {
  Api api;
  const auto writer = api.Complete(Prompt(R"("ab")"));
  api.backend.Play(0, {api.Ids("a")[0], 2, 100000, api.Ids("b")[0]});
  EXPECT_EQ(Ordered::parse(writer->body)["choices"][0]["text"], "a\uFFFDb");
}

TEST(ModelsApi, ListAndOne) {
  Api api;
  const std::string model =
      R"({"id":"deep","object":"model","created":1700000000,"owned_by":"hadal","max_model_len":4096})";
  EXPECT_EQ(api.Call("GET", "/v1/models", "", "")->body, R"({"object":"list","data":[)" + model + "]}");
  EXPECT_EQ(api.Call("GET", "/v1/models/deep", "", "")->body, model);
  for (const Route& route : api.routes) EXPECT_EQ(route.scope, "infer") << route.path;
  api.context.model = "deepseek-ai/V3 \"x\"";
  std::vector<std::string> paths;
  for (const Route& route : OpenAiRoutes(api.context)) paths.push_back(route.path);
  EXPECT_NE(std::ranges::find(paths, "/v1/models/deepseek-ai%2FV3%20%22x%22"), paths.end());
  EXPECT_EQ(std::ranges::find(paths, "/v1/models/deepseek-ai/V3 \"x\""), paths.end())
      << "no path has a space";
}

TEST(TokenizeApi, ThereAndBack) {
  Api api;
  const auto ids = api.Ids("<｜begin▁of▁sentence｜>Hi é");
  const auto tokens =
      api.Call("POST", "/v1/tokenize", R"({"model": "deep", "prompt": "Hi é", "return_token_strs": true})");
  const auto body = Ordered::parse(tokens->body);
  EXPECT_EQ(body["count"], ids.size());
  EXPECT_EQ(body["max_model_len"], 4096);
  EXPECT_EQ(body["tokens"], Ordered(ids));
  EXPECT_EQ(body["token_strs"].size(), ids.size());
  const auto bare = api.Call("POST", "/v1/tokenize", R"({"prompt": "", "add_special_tokens": false})");
  EXPECT_EQ(bare->body, R"({"count":0,"max_model_len":4096,"tokens":[]})");
  const auto text = api.Call("POST", "/v1/detokenize", R"({"tokens": )" + Ordered(ids).dump() + "}");
  EXPECT_EQ(text->body, R"({"prompt":"<｜begin▁of▁sentence｜>Hi é"})");
  for (const char* bad :
       {R"({"tokens": [-1]})", R"({"tokens": [512]})", R"({"tokens": "a"})", "{}", R"({"tokens": [null]})"})
    EXPECT_EQ(api.Call("POST", "/v1/detokenize", bad)->status, 400) << bad;
  for (const char* bad : {"{}", R"({"prompt": 5})", R"({"messages": []})"})
    EXPECT_EQ(api.Call("POST", "/v1/tokenize", bad)->status, 400) << bad;
}

TEST(TokenizeApi, AChatHasTheIdsItIsAnsweredFrom) {
  Api api;
  api.Chat(Hello());
  const auto writer = api.Call("POST", "/v1/tokenize", Hello());
  EXPECT_EQ(Ordered::parse(writer->body)["tokens"], Ordered(api.backend.requests[0].prompt));
}

}  // namespace
}  // namespace hadal::openai
