#include "cli/remote_conversation.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "cli/endpoint_flags.h"
#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/remote_answer.h"
#include "cli/settings.h"

namespace hadal {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr int kMostAttempts = 6;
constexpr int64_t kMostWaitSeconds = 30;
constexpr size_t kMostStreamBytes = size_t{1} << 30;

/// The address with its /v1, whether it was given with it or not.
std::string BaseUrl(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url.ends_with("/v1") ? url : url + "/v1";
}

/// Seconds that a busy service asks to wait; 1 where it says nothing (or a date).
int64_t RetryAfter(const HttpResponse& response) {
  int64_t seconds = 1;
  if (const std::string* text = response.Header("retry-after"); text != nullptr) {
    const char* end = text->data() + text->size();
    const auto [stop, error] = std::from_chars(text->data(), end, seconds);
    if (error != std::errc() || stop != end || seconds < 0) seconds = 1;
  }
  return std::min(seconds, kMostWaitSeconds);
}

template <typename T>
void Put(Json& fields, const char* name, const std::optional<T>& value) {
  if (value) fields[name] = *value;
}

/// What the flags say, by the names that OpenAI's API (and the extensions of most servers) has for it.
Result<Json> SamplingFields(const SamplingFlags& flags) {
  Json fields = Json::object();
  Put(fields, "temperature", flags.temperature);
  Put(fields, "top_p", flags.top_p);
  Put(fields, "top_k", flags.top_k);
  Put(fields, "min_p", flags.min_p);
  Put(fields, "repetition_penalty", flags.repetition_penalty);
  Put(fields, "max_tokens", flags.max_tokens);
  Put(fields, "seed", flags.seed);
  if (flags.presence_penalty != 0) fields["presence_penalty"] = flags.presence_penalty;
  if (flags.frequency_penalty != 0) fields["frequency_penalty"] = flags.frequency_penalty;
  if (flags.greedy) fields["temperature"] = 0;
  if (flags.ignore_eos) fields["ignore_eos"] = true;
  if (!flags.stop.empty()) fields["stop"] = flags.stop;
  for (const std::string& text : flags.logit_bias) {
    ASSIGN_OR_RETURN(const auto bias, ParseBias(text));
    fields["logit_bias"][std::to_string(bias.first)] = bias.second;
  }
  return fields;
}

Json Message(const char* role, const std::string& text) { return {{"role", role}, {"content", text}}; }

}  // namespace

void AddRemoteFlags(CLI::App& verb, RemoteFlags& flags) {
  const auto add = [&](const char* name, std::string& value, const char* type, const char* key,
                       const char* text) {
    Setting(verb.add_option(name, value, text)->type_name(type)->group("With a service"), key);
  };
  add("--server", flags.server, "URL", "client.server",
      "Ask this service, such as https://127.0.0.1:8443, instead of loading a model");
  add("--ca", flags.ca, "FILE", "client.ca",
      "CA certificate that the service is trusted by (PEM); without it the system's");
  add("--token-file", flags.token_file, "FILE", "client.token_file",
      "File with the token in its first line; without it the variable HADAL_TOKEN, if it is set");
  add("--server-model", flags.model, "NAME", "client.model",
      "The model's name there; without it the first that it lists");
}

Result<RemoteConversation> RemoteConversation::Connect(const RemoteFlags& flags,
                                                       const SamplingFlags& sampling,
                                                       nlohmann::ordered_json variables, std::string system,
                                                       std::function<bool()> interrupted) {
  RemoteConversation conversation;
  ASSIGN_OR_RETURN(
      conversation.endpoint_,
      ToEndpoint(
          {.url = BaseUrl(flags.server), .ca = flags.ca, .token_file = flags.token_file, .model = {}}));
  RETURN_IF_ERROR(CheckEndpoint(conversation.endpoint_));
  conversation.interrupted_ = std::move(interrupted);
  conversation.model_ = flags.model;
  if (flags.model.empty()) {
    ASSIGN_OR_RETURN(conversation.model_, conversation.FirstModel());
  }
  conversation.fields_ = {
      {"model", conversation.model_}, {"stream", true}, {"stream_options", {{"include_usage", true}}}};
  ASSIGN_OR_RETURN(const Json fields, SamplingFields(sampling));
  conversation.fields_.update(fields);
  if (!variables.empty()) conversation.fields_["chat_template_kwargs"] = std::move(variables);
  conversation.SetSystem(std::move(system));
  return conversation;
}

void RemoteConversation::Reset() {
  messages_ = Json::array();
  if (!system_.empty()) messages_.push_back(Message("system", system_));
}

void RemoteConversation::SetSystem(std::string text) {
  system_ = std::move(text);
  Reset();
}

HttpClientRequest RemoteConversation::NewRequest(const std::string& method, const std::string& path) const {
  HttpClientRequest request;
  request.method = method;
  request.url = endpoint_.url + path;
  request.ca_file = endpoint_.ca_file;
  request.allow_loopback_http = true;
  request.headers.push_back({"Accept", "application/json, text/event-stream"});
  if (method == "POST") request.headers.push_back({"Content-Type", "application/json"});
  if (!endpoint_.token.empty())
    request.headers.push_back({"Authorization", "Bearer " + std::string(endpoint_.token.view())});
  request.cancelled = interrupted_;
  return request;
}

Result<HttpResponse> RemoteConversation::Fetch(const HttpClientRequest& request) const {
  for (int attempt = 1;; ++attempt) {
    ASSIGN_OR_RETURN(HttpResponse response, HttpFetch(request));
    const bool busy = response.status == 429 || response.status == 503;
    if (!busy || attempt == kMostAttempts) return response;
    const int64_t seconds = RetryAfter(response);
    PrintNote(fmt::format("the service is busy ({}); asking again in {} s", response.status, seconds));
    const auto until = Clock::now() + std::chrono::seconds(seconds);
    while (Clock::now() < until) {
      if (interrupted_()) return Cancelled("interrupted");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

Result<std::string> RemoteConversation::FirstModel() const {
  ASSIGN_OR_RETURN(const HttpResponse response, Fetch(NewRequest("GET", "/models")));
  if (response.status != 200) return RefusalOf(response.status, response.body);
  const auto json = ParseJsonText(response.body);
  if (json && json->is_object() && json->contains("data") && (*json)["data"].is_array())
    for (const Json& model : (*json)["data"])
      if (model.is_object() && model.contains("id") && model["id"].is_string())
        return model["id"].get<std::string>();
  return DataLoss("{}/models lists no model; name one with --server-model", endpoint_.url);
}

Result<Answer> RemoteConversation::Say(const std::string& text, const ShowPiece& show) {
  Json messages = messages_;
  messages.push_back(Message("user", text));
  Json body = fields_;
  body["messages"] = messages;

  RemoteAnswer answer(show);
  HttpClientRequest request = NewRequest("POST", "/chat/completions");
  request.body = JsonText(body);
  request.total_timeout = std::chrono::milliseconds(0);  // as long as the answer takes
  request.max_response_bytes = kMostStreamBytes;
  request.on_headers = [&](const HttpResponse& response) {
    answer.Begin(response.status);
    return true;
  };
  request.on_body = [&](std::string_view bytes) { return answer.Feed(bytes); };
  const Result<HttpResponse> response = Fetch(request);
  const bool interrupted = !response && response.error().code == Code::kCancelled && interrupted_();
  RETURN_IF_ERROR(answer.status());
  if (!response && !interrupted) return tl::unexpected(response.error());
  ASSIGN_OR_RETURN(Answer said, std::move(answer).Finish(interrupted));
  messages.push_back(Message("assistant", said.text));
  messages_ = std::move(messages);
  return said;
}

}  // namespace hadal
