// The API over a real engine with random weights: what comes out is what the engine gives alone.
#include <condition_variable>
#include <mutex>
#include <regex>

#include "engine/engine_loop.h"
#include "model/synth.h"
#include "server/openai/openai_test_util.h"

namespace hadal::openai {
namespace {

constexpr std::chrono::milliseconds kLong{300'000};

/// A RecordingWriter that the engine's thread writes and the test waits for.
class SharedWriter final : public ResponseWriter {
 public:
  void Send(int status, HttpHeaders headers, std::string body) override {
    Change([&] { inner.Send(status, std::move(headers), std::move(body)); });
  }
  void StartStream(int status, HttpHeaders headers) override {
    Change([&] { inner.StartStream(status, std::move(headers)); });
  }
  bool Write(std::string chunk) override {
    bool taken = false;
    Change([&] { taken = inner.Write(std::move(chunk)); });
    return taken;
  }
  void EndStream() override {
    Change([&] { inner.EndStream(); });
  }
  void OnDisconnect(std::function<void()> callback) override { inner.OnDisconnect(std::move(callback)); }

  bool WaitFor(const std::function<bool(const RecordingWriter&)>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLong, [&] { return condition(inner); });
  }
  Ordered Body() {
    EXPECT_TRUE(WaitFor([](const RecordingWriter& writer) { return writer.ended; }));
    EXPECT_EQ(inner.status, 200) << inner.body;
    return Ordered::parse(inner.body);
  }

  RecordingWriter inner;

 private:
  void Change(const std::function<void()>& change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// One model for all tests of this file.
class EngineApi : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ThreadPool pool(2);
    folder_ = Path(testing::TempDir()) / "openai_engine_api";
    std::filesystem::remove_all(folder_);
    const Status made = Synthesize({.shape = "v3-tiny", .out = folder_, .layers = {}, .progress = {}}, pool);
    ASSERT_TRUE(made) << made.error().message;
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }

  void SetUp() override {
    EngineOptions options;
    options.context = 256;
    options.sequences = 4;
    options.logit_rows = 8;
    options.threads = 2;
    options.block_size = 16;
    auto engine = Engine::Load(folder_, options);
    ASSERT_TRUE(engine) << engine.error().message;
    loop_ = EngineLoop::Start(*std::move(engine), {.max_running = 8, .max_waiting = 16}).value();
    backend_ = std::make_unique<LoopBackend>(*loop_);
    auto context = MakeApiContext(folder_, *loop_, "tiny");
    ASSERT_TRUE(context) << context.error().message;
    context_ = std::make_unique<ApiContext>(*std::move(context));
    context_->backend = backend_.get();
    routes_ = OpenAiRoutes(*context_);
  }

  std::shared_ptr<SharedWriter> Call(const std::string& path, const std::string& more) {
    HttpRequest request;
    request.method = "POST";
    request.target = path;
    request.headers = {{"content-type", "application/json"}};
    request.body = R"({"model": "tiny", "seed": 4)" + more + "}";
    auto writer = std::make_shared<SharedWriter>();
    for (const Route& route : routes_) {
      if (route.path == path) route.handler(request, writer);
    }
    return writer;
  }
  static std::string User(const std::string& content) {
    return R"(, "messages": [{"role": "user", "content": ")" + content + "\"}]";
  }

  static Path folder_;
  std::unique_ptr<ApiContext> context_;  // outlives the loop, whose requests use it
  std::unique_ptr<LoopBackend> backend_;
  std::unique_ptr<EngineLoop> loop_;
  std::vector<Route> routes_;
};
Path EngineApi::folder_;

TEST_F(EngineApi, TheSameTokensAloneInCompanyAndStreamed) {
  const std::string more = R"(, "max_tokens": 40, "return_token_ids": true, "ignore_eos": true)";
  std::vector<std::vector<int32_t>> alone;
  for (int i = 0; i < 6; ++i) {
    const auto choice =
        Call("/v1/chat/completions", User("Question " + std::to_string(i)) + more)->Body()["choices"][0];
    alone.push_back(choice["token_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(alone.back().size(), 40u);
    EXPECT_EQ(choice["finish_reason"], "length");
  }
  std::vector<std::shared_ptr<SharedWriter>> streams;
  for (int i = 0; i < 6; ++i)
    streams.push_back(
        Call("/v1/chat/completions", User("Question " + std::to_string(i)) + more + R"(, "stream": true)"));
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(streams[i]->WaitFor([](const RecordingWriter& writer) { return writer.ended; }));
    std::vector<int32_t> ids;
    for (const std::string& event : streams[i]->inner.Events()) {
      if (event == "[DONE]") continue;
      const auto piece = Ordered::parse(event)["choices"][0]["token_ids"].get<std::vector<int32_t>>();
      ids.insert(ids.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(ids, alone[i]);
  }
}

TEST_F(EngineApi, UsageTellsOfThePrefixCache) {
  const std::string chat = User(std::string(150, 'x')) + R"(, "max_tokens": 2)";
  EXPECT_EQ(Call("/v1/chat/completions", chat)->Body()["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  const auto usage = Call("/v1/chat/completions", chat)->Body()["usage"];
  EXPECT_GT(usage["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_LE(usage["completion_tokens"], 2);
}

TEST_F(EngineApi, ClientsThatLeaveFreeTheirBlocks) {
  const auto free = loop_->stats().free_blocks + loop_->stats().cached_blocks;
  std::vector<std::shared_ptr<SharedWriter>> writers;
  for (int i = 0; i < 3; ++i)
    writers.push_back(Call("/v1/chat/completions", User("a") + R"(, "stream": true, "ignore_eos": true)"));
  for (const auto& writer : writers) {
    ASSERT_TRUE(writer->WaitFor([](const RecordingWriter& recorded) { return recorded.writes > 2; }));
    writer->inner.disconnect();
  }
  // A good request passes afterwards, and nothing is left behind.
  EXPECT_EQ(Call("/v1/completions", R"(, "prompt": "a", "max_tokens": 3, "ignore_eos": true)")
                ->Body()["usage"]["completion_tokens"],
            3);
  loop_->Drain(kLong);
  EXPECT_EQ(loop_->stats().running, 0);
  EXPECT_EQ(loop_->stats().free_blocks + loop_->stats().cached_blocks, free);
  const auto late = Call("/v1/chat/completions", User("a"));
  EXPECT_EQ(late->inner.status, 503);
}

TEST_F(EngineApi, StopStringsLogprobsAndChoices) {
  const std::string more = R"(, "prompt": "Once", "max_tokens": 30, "temperature": 0, "ignore_eos": true)";
  const auto whole = Call("/v1/completions", more + R"(, "logprobs": 3)")->Body()["choices"][0];
  const std::string text = whole["text"];
  ASSERT_EQ(whole["logprobs"]["tokens"].size(), 30u);
  for (const Ordered& top : whole["logprobs"]["top_logprobs"]) EXPECT_EQ(top.size(), 3u);
  // Greedy: the token is the first of the likeliest.
  for (size_t i = 0; i < 30; ++i)
    EXPECT_EQ(whole["logprobs"]["token_logprobs"][i], whole["logprobs"]["top_logprobs"][i].begin().value());

  size_t middle = text.size() / 2;
  while ((text[middle] & 0xC0) == 0x80) ++middle;  // where a character begins
  const std::string stop = text.substr(middle);
  const auto stopped = Call("/v1/completions", more + ", \"stop\": " + Ordered(stop).dump())->Body();
  EXPECT_EQ(stopped["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(stopped["choices"][0]["text"], text.substr(0, text.find(stop)));

  const auto choices =
      Call("/v1/completions", R"(, "prompt": ["a", "b"], "n": 2, "max_tokens": 5, "return_token_ids": true)")
          ->Body()["choices"];
  ASSERT_EQ(choices.size(), 4u);
  const auto second =
      Call("/v1/completions", R"(, "prompt": "a", "max_tokens": 5, "return_token_ids": true)");
  EXPECT_EQ(second->Body()["choices"][0]["token_ids"], choices[0]["token_ids"])
      << "choice 0 has the seed itself";
}

/// What a schema of the tests below allows.
void ExpectCity(const std::string& text) {
  const auto city = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(city.is_object()) << text;
  EXPECT_TRUE(city.at("name").is_string()) << text;
  EXPECT_LE(city.at("name").get<std::string>().size(), 32u) << text;
  EXPECT_TRUE(city.at("size").is_number_integer()) << text;
  EXPECT_GE(city.at("size"), 10) << text;
  EXPECT_LE(city.at("size"), 5000) << text;
  EXPECT_TRUE(city.at("kind") == "port" || city.at("kind") == "capital") << text;
  EXPECT_LE(city.size(), 4u) << text;
}

TEST_F(EngineApi, AnswersHaveTheFormThatWasAskedFor) {
  const std::string form =
      R"(, "max_tokens": 200, "response_format": {"type": "json_schema", "json_schema": {"name": "city",
          "strict": true, "schema": {"type": "object", "additionalProperties": false,
          "required": ["name", "size", "kind"], "properties": {"name": {"type": "string", "maxLength": 8},
          "size": {"type": "integer", "minimum": 10, "maximum": 5000}, "kind": {"enum": ["port", "capital"]},
          "open": {"type": "boolean"}}}}})";
  for (const std::string temperature : {"0", "1", "1.7"}) {
    const std::string more = form + R"(, "n": 2, "temperature": )" + temperature;
    const auto whole = Call("/v1/chat/completions", User("A city") + more)->Body();
    ASSERT_EQ(whole["choices"].size(), 2u);
    for (const Ordered& choice : whole["choices"]) {
      EXPECT_EQ(choice["finish_reason"], "stop");
      ExpectCity(choice["message"]["content"]);
    }
    // The stream has the same, piece by piece.
    const auto stream = Call("/v1/chat/completions", User("A city") + more + R"(, "stream": true)");
    ASSERT_TRUE(stream->WaitFor([](const RecordingWriter& writer) { return writer.ended; }));
    std::map<int, std::string> texts;
    for (const std::string& event : stream->inner.Events()) {
      if (event == "[DONE]") continue;
      const Ordered choice = Ordered::parse(event)["choices"][0];
      texts[choice["index"]] += choice["delta"].value("content", "");
    }
    for (int i = 0; i < 2; ++i) {
      const std::string content = whole["choices"][static_cast<size_t>(i)]["message"]["content"];
      EXPECT_EQ(texts[i], content);
    }
    for (const Ordered& choice : Call("/v1/completions", R"(, "prompt": "A city:")" + more)->Body()["choices"])
      ExpectCity(choice["text"]);
  }
}

TEST_F(EngineApi, GrammarsAndFreeObjects) {
  const auto text = [&](const std::string& more) {
    return Call("/v1/completions", R"(, "prompt": "a", "max_tokens": 200)" + more)->Body()["choices"][0];
  };
  const auto digits = text(R"(, "grammar": "root ::= \"<\" [0-9]{3} (\"-\" [0-9]{2}){2} \">\"", "logprobs": 2)");
  EXPECT_TRUE(std::regex_match(digits["text"].get<std::string>(), std::regex("<\\d{3}-\\d\\d-\\d\\d>")))
      << digits["text"];
  EXPECT_EQ(digits["finish_reason"], "stop");
  EXPECT_EQ(text(R"(, "grammar": "root ::= \"\"")")["text"], "");
  // Cut off by max_tokens, it is at least the beginning of an object.
  const std::string object = text(R"(, "response_format": {"type": "json_object"})")["text"];
  EXPECT_EQ(object.substr(0, 1), "{");
}

}  // namespace
}  // namespace hadal::openai
