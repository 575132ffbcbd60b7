// An API's routes over a script instead of an engine, and a writer that remembers.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/api_context.h"

namespace hadal::api {

using Ordered = nlohmann::ordered_json;

class RecordingWriter final : public ResponseWriter {
 public:
  void Send(int status, HttpHeaders headers, std::string body) override {
    EXPECT_EQ(this->status, 0) << "a second response";
    this->status = status;
    for (auto& [name, value] : headers) this->headers[name] = value;
    this->body = std::move(body);
    ended = true;
  }
  void StartStream(int status, HttpHeaders headers) override {
    EXPECT_EQ(this->status, 0) << "a second response";
    this->status = status;
    for (auto& [name, value] : headers) this->headers[name] = value;
  }
  bool Write(std::string chunk) override {
    EXPECT_FALSE(ended) << "a write after the end: " << chunk;
    if (gone) return false;
    body += chunk;
    ++writes;
    return true;
  }
  void EndStream() override {
    EXPECT_FALSE(ended);
    ended = true;
  }
  void OnDisconnect(std::function<void()> callback) override { disconnect = std::move(callback); }

  /// The data of the events so far, "[DONE]" among them.
  std::vector<std::string> Events() const {
    std::vector<std::string> events;
    for (size_t at = 0; at < body.size();) {
      const size_t end = body.find("\n\n", at);
      if (body.substr(at, 7) == "event: ") at = body.find('\n', at) + 1;
      EXPECT_EQ(body.substr(at, 6), "data: ");
      if (end == body.npos) return ADD_FAILURE() << "an event without end", events;
      events.push_back(body.substr(at + 6, end - at - 6));
      at = end + 2;
    }
    return events;
  }

  int status = 0;
  std::map<std::string, std::string> headers;
  std::string body;
  int writes = 0;
  bool ended = false, gone = false;
  std::function<void()> disconnect;
};

/// Remembers requests; a test plays their tokens.
class ScriptedBackend final : public Backend {
 public:
  Result<RequestId> Submit(GenerationRequest request) override {
    if (accept == 0) return tl::unexpected(refusal);
    --accept;
    requests.push_back(std::move(request));
    return requests.size();
  }
  void Cancel(RequestId id) override { cancelled.push_back(id); }
  void Finish(RequestId id) override {
    stopped.push_back(id);
    Cancel(id);
  }

  void Token(size_t request, int32_t token, bool last = false, FinishReason reason = FinishReason::kLength) {
    TokenEvent event;
    event.token = token;
    event.finished = last;
    event.reason = reason;
    event.logprob = -0.5;
    if (requests[request].logprobs > 0) event.top = {{token, -0.5}, {0, -2.25}};
    Usage& usage = usages[request];
    usage.prompt = static_cast<int64_t>(requests[request].prompt.size());
    usage.cached = 1;
    ++usage.generated;
    requests[request].deliver(event, usage);
  }
  /// Its last event, without a token.
  void End(size_t request, FinishReason reason, Error error = {Code::kInternal, {}}) {
    TokenEvent event;
    event.finished = true;
    event.reason = reason;
    event.error = std::move(error);
    Usage& usage = usages[request];
    usage.prompt = static_cast<int64_t>(requests[request].prompt.size());
    usage.cached = 1;
    requests[request].deliver(event, usage);
  }
  void Play(size_t request, const std::vector<int32_t>& tokens) {
    for (const int32_t token : tokens) Token(request, token);
    End(request, FinishReason::kStop);
  }

  std::vector<GenerationRequest> requests;
  std::map<size_t, Usage> usages;
  std::vector<RequestId> cancelled;  // and stopped
  std::vector<RequestId> stopped;
  int accept = 1000000;
  Error refusal{Code::kResourceExhausted, "the queue is full"};
};

/// tests/data/tokenizer/templates/`name`.jinja with DeepSeek's special tokens.
inline ChatTemplate TestTemplate(const std::string& name) {
  const Path data = Path(HADAL_TEST_DATA) / "tokenizer";
  const Path folder = Path(testing::TempDir()) / ("api_template_" + name);
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(data / "templates" / (name + ".jinja"), folder / "chat_template.jinja",
                             std::filesystem::copy_options::overwrite_existing);
  std::ofstream(folder / "tokenizer_config.json")
      << R"({"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"})";
  return ChatTemplate::Load(folder).value();
}

/// A server's worth of it, without the server.
class TestApi {
 public:
  TestApi(const std::string& template_name, std::vector<Route> (*make_routes)(const ApiContext&))
      : context{.model = "deep",
                .created = 1700000000,
                .tokenizer = Tokenizer::Load(Path(HADAL_TEST_DATA) / "tokenizer/tiny-bpe").value(),
                .chat_template = TestTemplate(template_name)} {
    context.format = DetectOutputFormat(context.chat_template->source());
    context.context = 4096;
    context.stop_ids = {1};
    context.vocabulary = grammar::Vocabulary::Create(context.tokenizer, context.stop_ids).value();
    context.bos = 0;
    context.backend = &backend;
    routes = make_routes(context);
  }

  std::shared_ptr<RecordingWriter> Call(const std::string& method, const std::string& path,
                                        const std::string& body,
                                        const std::string& content_type = "application/json") {
    HttpRequest request;
    request.method = method;
    request.target = path;
    request.body = body;
    if (!content_type.empty()) request.headers.emplace_back("content-type", content_type);
    auto writer = std::make_shared<RecordingWriter>();
    for (const Route& route : routes) {
      if (route.method == method && route.path == path) {
        route.handler(request, writer);
        return writer;
      }
    }
    ADD_FAILURE() << "no route " << method << " " << path;
    return writer;
  }
  std::vector<int32_t> Ids(std::string_view text) { return context.tokenizer.Encode(text).value(); }

  ScriptedBackend backend;
  ApiContext context;
  std::vector<Route> routes;
};

/// Whether the form of the last request's answer takes `text` as a whole, its markers as tokens.
inline testing::AssertionResult TakesWhole(TestApi& api, std::string_view text) {
  if (api.backend.requests.empty()) return testing::AssertionFailure() << "nothing was asked";
  const auto constraint = api.backend.requests.back().constraint;
  if (!constraint) return testing::AssertionFailure() << "there is no constraint";
  const auto allows = [](std::span<const uint64_t> mask, int32_t id) {
    return (mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0;
  };
  for (const int32_t id : api.Ids(text)) {
    const std::string_view bytes = api.context.tokenizer.TokenBytes(id).value();
    if (constraint->MustEnd()) return testing::AssertionFailure() << "it ends before '" << bytes << "'";
    const auto mask = constraint->Allowed();
    if (!mask) return testing::AssertionFailure() << mask.error().message;
    if (!allows(*mask, id)) return testing::AssertionFailure() << "it refuses '" << bytes << "'";
    constraint->Accept(id);
  }
  if (constraint->MustEnd() || allows(constraint->Allowed().value(), 1)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "it is not complete";
}

}  // namespace hadal::api
