#include "server/openai/response.h"

namespace hadal::openai {
namespace {

class ChatResponse final : public OpenAiResponse {
 public:
  using OpenAiResponse::OpenAiResponse;

 private:
  std::string_view ObjectName(bool piece) const override {
    return piece ? "chat.completion.chunk" : "chat.completion";
  }
  void WriteChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const override;
  void WriteCalls(const ChoiceOutput& choice, bool piece, JsonWriter& json) const;
  void WriteLogprobs(const std::vector<TokenLogprob>& logprobs, JsonWriter& json) const;
  void WriteToken(int32_t id, double logprob, JsonWriter& json) const;
};

void ChatResponse::WriteChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const {
  const OutputParser::Delta& text = choice.text;
  json.Key(piece ? "delta" : "message").BeginObject();
  if (!piece || choice.first) json.Key("role").String("assistant");
  if (!text.reasoning.empty()) json.Key("reasoning_content").String(text.reasoning);
  // A whole message has content, null beside tool calls; a piece has it when there is some, and the first one
  // so that clients that add up strings begin with one.
  if (!piece && text.content.empty() && !text.calls.empty()) {
    json.Key("content").Null();
  } else if (!piece || choice.first || !text.content.empty()) {
    json.Key("content").String(text.content);
  }
  if (!piece) json.Key("refusal").Null();
  if (!text.calls.empty()) WriteCalls(choice, piece, json);
  json.EndObject();
  json.Key("logprobs");
  if (logprobs() && !(piece && choice.logprobs.empty())) {
    WriteLogprobs(choice.logprobs, json);
  } else {
    json.Null();
  }
}

void ChatResponse::WriteCalls(const ChoiceOutput& choice, bool piece, JsonWriter& json) const {
  json.Key("tool_calls").BeginArray();
  for (size_t i = 0; i < choice.text.calls.size(); ++i) {
    const ToolCall& call = choice.text.calls[i];
    json.BeginObject();
    if (piece) json.Key("index").Int(choice.first_call + static_cast<int64_t>(i));
    json.Key("id").String(choice.call_ids[i]).Key("type").String("function");
    json.Key("function").BeginObject().Key("name").String(call.name);
    json.Key("arguments").String(call.arguments).EndObject().EndObject();
  }
  json.EndArray();
}

/// The members that chosen and alternative tokens share; the object stays open.
void ChatResponse::WriteToken(int32_t id, double logprob, JsonWriter& json) const {
  const std::string_view bytes = TokenBytes(id);
  json.BeginObject().Key("token").String(bytes).Key("logprob").Number(FiniteLogprob(logprob));
  json.Key("bytes").BeginArray();
  for (const unsigned char byte : bytes) json.Int(byte);
  json.EndArray();
}

void ChatResponse::WriteLogprobs(const std::vector<TokenLogprob>& logprobs, JsonWriter& json) const {
  json.BeginObject().Key("content").BeginArray();
  for (const TokenLogprob& token : logprobs) {
    WriteToken(token.token, token.logprob, json);
    json.Key("top_logprobs").BeginArray();
    for (const auto& [id, logprob] : token.top) {
      WriteToken(id, logprob, json);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().Key("refusal").Null().EndObject();
}

}  // namespace

std::unique_ptr<Response> MakeChatResponse(OpenAiResponse::Options options, Tokenizer tokenizer) {
  return std::make_unique<ChatResponse>(std::move(options), std::move(tokenizer));
}

}  // namespace hadal::openai
