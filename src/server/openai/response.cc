#include "server/openai/response.h"

#include <cmath>

namespace hadal::openai {
namespace {

void WriteUsage(const Usage& usage, JsonWriter& json) {
  json.Key("usage").BeginObject();
  json.Key("prompt_tokens").Int(usage.prompt).Key("completion_tokens").Int(usage.generated);
  json.Key("total_tokens").Int(usage.prompt + usage.generated);
  json.Key("prompt_tokens_details").BeginObject().Key("cached_tokens").Int(usage.cached).EndObject();
  json.EndObject();
}

}  // namespace

double FiniteLogprob(double logprob) { return std::isfinite(logprob) ? logprob : -9999.0; }

std::string_view Response::TokenBytes(int32_t id) const {
  const auto bytes = tokenizer_.TokenBytes(id);
  return bytes ? *bytes : std::string_view();
}

void Response::WriteHead(bool piece, JsonWriter& json) const {
  json.Key("id").String(options_.id).Key("object").String(ObjectName(piece));
  json.Key("created").Int(options_.created).Key("model").String(options_.model);
}

void Response::WriteWholeChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const {
  json.BeginObject().Key("index").Int(choice.index);
  WriteChoice(choice, piece, json);
  if (options_.token_ids) {
    json.Key("token_ids").BeginArray();
    for (const int32_t id : choice.token_ids) json.Int(id);
    json.EndArray();
  }
  json.Key("finish_reason").StringOrNull(choice.finish_reason);
  json.EndObject();
}

std::string Response::Whole(std::span<const ChoiceOutput> choices, const Usage& usage) const {
  JsonWriter json;
  json.BeginObject();
  WriteHead(/*piece=*/false, json);
  json.Key("choices").BeginArray();
  for (const ChoiceOutput& choice : choices) WriteWholeChoice(choice, /*piece=*/false, json);
  json.EndArray();
  WriteUsage(usage, json);
  json.EndObject();
  return json.Take();
}

std::string Response::Piece(const ChoiceOutput& choice) const {
  JsonWriter json;
  json.BeginObject();
  WriteHead(/*piece=*/true, json);
  json.Key("choices").BeginArray();
  WriteWholeChoice(choice, /*piece=*/true, json);
  json.EndArray();
  if (options_.usage_in_stream) json.Key("usage").Null();
  json.EndObject();
  return json.Take();
}

std::string Response::UsagePiece(const Usage& usage) const {
  JsonWriter json;
  json.BeginObject();
  WriteHead(/*piece=*/true, json);
  json.Key("choices").BeginArray().EndArray();
  WriteUsage(usage, json);
  json.EndObject();
  return json.Take();
}

}  // namespace hadal::openai
