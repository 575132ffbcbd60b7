#include "server/openai/response.h"

#include <cmath>

#include "server/openai/error_reply.h"

namespace hadal::openai {
namespace {

void WriteUsage(const Usage& usage, JsonWriter& json) {
  json.Key("usage").BeginObject();
  json.Key("prompt_tokens").Int(usage.prompt).Key("completion_tokens").Int(usage.generated);
  json.Key("total_tokens").Int(usage.prompt + usage.generated);
  json.Key("prompt_tokens_details").BeginObject().Key("cached_tokens").Int(usage.cached).EndObject();
  json.EndObject();
}

std::string Event(std::string_view data) { return fmt::format("data: {}\n\n", data); }

std::string_view FinishReasonWord(const std::optional<Ending>& ending) {
  if (!ending) return {};
  switch (*ending) {
    case Ending::kLength:
      return "length";
    case Ending::kToolCalls:
      return "tool_calls";
    case Ending::kStop:
    case Ending::kStopString:
      return "stop";
  }
  return "stop";
}

}  // namespace

double FiniteLogprob(double logprob) { return std::isfinite(logprob) ? logprob : -9999.0; }

std::string_view OpenAiResponse::TokenBytes(int32_t id) const {
  const auto bytes = tokenizer_.TokenBytes(id);
  return bytes ? *bytes : std::string_view();
}

void OpenAiResponse::WriteHead(bool piece, JsonWriter& json) const {
  json.Key("id").String(options_.id).Key("object").String(ObjectName(piece));
  json.Key("created").Int(options_.created).Key("model").String(options_.model);
}

void OpenAiResponse::WriteWholeChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const {
  json.BeginObject().Key("index").Int(choice.index);
  WriteChoice(choice, piece, json);
  if (options_.token_ids) {
    json.Key("token_ids").BeginArray();
    for (const int32_t id : choice.token_ids) json.Int(id);
    json.EndArray();
  }
  json.Key("finish_reason").StringOrNull(FinishReasonWord(choice.ending));
  json.EndObject();
}

std::string OpenAiResponse::Whole(std::span<const ChoiceOutput> choices, const Usage& total) {
  JsonWriter json;
  json.BeginObject();
  WriteHead(/*piece=*/false, json);
  json.Key("choices").BeginArray();
  for (const ChoiceOutput& choice : choices) WriteWholeChoice(choice, /*piece=*/false, json);
  json.EndArray();
  WriteUsage(total, json);
  json.EndObject();
  return json.Take();
}

std::string OpenAiResponse::Piece(const ChoiceOutput& choice, const Usage&) {
  JsonWriter json;
  json.BeginObject();
  WriteHead(/*piece=*/true, json);
  json.Key("choices").BeginArray();
  WriteWholeChoice(choice, /*piece=*/true, json);
  json.EndArray();
  if (options_.usage_in_stream) json.Key("usage").Null();
  json.EndObject();
  return Event(json.Take());
}

std::string OpenAiResponse::End(const Usage& total) {
  std::string events;
  if (options_.usage_in_stream) {
    JsonWriter json;
    json.BeginObject();
    WriteHead(/*piece=*/true, json);
    json.Key("choices").BeginArray().EndArray();
    WriteUsage(total, json);
    json.EndObject();
    events = Event(json.Take());
  }
  return events + Event("[DONE]");
}

std::string OpenAiResponse::ErrorEvent(const ApiError& error) { return Event(OpenAiError(error).body); }

ErrorFormat OpenAiResponse::error_format() const { return OpenAiError; }

}  // namespace hadal::openai
