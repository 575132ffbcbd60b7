#include <simdjson.h>

#include <algorithm>

#include "server/openai/response.h"

namespace hadal::openai {
namespace {

class CompletionResponse final : public OpenAiResponse {
 public:
  using OpenAiResponse::OpenAiResponse;

 private:
  std::string_view ObjectName(bool) const override { return "text_completion"; }
  void WriteChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const override;
  void WriteLogprobs(const std::vector<TokenLogprob>& logprobs, JsonWriter& json) const;
  std::string TokenText(int32_t id) const;
};

void CompletionResponse::WriteChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const {
  json.Key("text").String(choice.text.content).Key("logprobs");
  if (logprobs() && !(piece && choice.logprobs.empty())) {
    WriteLogprobs(choice.logprobs, json);
  } else {
    json.Null();
  }
}

/// Part of a character is written in OpenAI's way, "bytes:\xe4\xbd", so that different tokens stay different.
std::string CompletionResponse::TokenText(int32_t id) const {
  const std::string_view bytes = TokenBytes(id);
  if (simdjson::validate_utf8(bytes.data(), bytes.size())) return std::string(bytes);
  std::string text = "bytes:";
  for (const unsigned char byte : bytes) text += fmt::format("\\x{:02x}", byte);
  return text;
}

void CompletionResponse::WriteLogprobs(const std::vector<TokenLogprob>& logprobs, JsonWriter& json) const {
  json.BeginObject().Key("tokens").BeginArray();
  for (const TokenLogprob& token : logprobs) json.String(TokenText(token.token));
  json.EndArray().Key("token_logprobs").BeginArray();
  for (const TokenLogprob& token : logprobs) json.Number(FiniteLogprob(token.logprob));
  json.EndArray().Key("top_logprobs").BeginArray();
  for (const TokenLogprob& token : logprobs) {
    json.BeginObject();
    std::vector<std::string> seen;  // tokens may have the same text; the likelier one counts
    for (const auto& [id, logprob] : token.top) {
      std::string text = TokenText(id);
      if (std::ranges::find(seen, text) != seen.end()) continue;
      json.Key(text).Number(FiniteLogprob(logprob));
      seen.push_back(std::move(text));
    }
    json.EndObject();
  }
  json.EndArray().Key("text_offset").BeginArray();
  for (const TokenLogprob& token : logprobs) json.Int(token.text_offset);
  json.EndArray().EndObject();
}

}  // namespace

std::unique_ptr<Response> MakeCompletionResponse(OpenAiResponse::Options options, Tokenizer tokenizer) {
  return std::make_unique<CompletionResponse>(std::move(options), std::move(tokenizer));
}

}  // namespace hadal::openai
