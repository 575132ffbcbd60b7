#include "server/anthropic/messages_response.h"

#include "server/anthropic/error_reply.h"
#include "server/api/json_fields.h"
#include "server/api/json_writer.h"

namespace hadal::anthropic {
namespace {

using namespace api;

std::string Event(std::string_view name, JsonWriter& json) {
  return fmt::format("event: {}\ndata: {}\n\n", name, json.Take());
}

/// {"type": `name`, ...: the object stays open.
JsonWriter Open(std::string_view name) {
  JsonWriter json;
  json.BeginObject().Key("type").String(name);
  return json;
}

std::string_view StopReason(Ending ending) {
  switch (ending) {
    case Ending::kStop:
      return "end_turn";
    case Ending::kStopString:
      return "stop_sequence";
    case Ending::kToolCalls:
      return "tool_use";
    case Ending::kLength:
      return "max_tokens";
  }
  return "end_turn";
}

/// Tokens read from the prefix cache are not counted among the input, as there.
void WriteUsage(const Usage& usage, JsonWriter& json) {
  json.Key("usage").BeginObject().Key("input_tokens").Int(usage.prompt - usage.cached);
  json.Key("cache_creation_input_tokens").Int(0).Key("cache_read_input_tokens").Int(usage.cached);
  json.Key("output_tokens").Int(usage.generated).EndObject();
}

std::string InputJson(const ToolCall& call) {
  const auto body = JsonBody::Parse(call.arguments);
  if (body && body->root().is_object()) return call.arguments;
  JsonWriter json;
  json.BeginObject().Key("invalid_arguments").String(call.arguments).EndObject();
  return json.Take();
}

class MessagesResponse final : public Response {
 public:
  MessagesResponse(std::string id, std::string model) : id_(std::move(id)), model_(std::move(model)) {}

  std::string Whole(std::span<const ChoiceOutput> choices, const Usage& total) override;
  std::string Piece(const ChoiceOutput& choice, const Usage& usage) override;
  std::string End(const Usage& total) override;
  std::string ErrorEvent(const ApiError& error) override {
    return fmt::format("event: error\ndata: {}\n\n", AnthropicError(error).body);
  }
  ErrorFormat error_format() const override { return AnthropicError; }
  std::string_view call_id_prefix() const override { return "toolu_"; }

 private:
  enum class Block { kNone, kThinking, kText };

  void WriteHead(JsonWriter& json) const;
  std::string Start(const Usage& usage) const;
  std::string Delta(Block kind, std::string_view text);
  std::string CloseBlock();
  std::string ToolUse(const ToolCall& call, std::string_view id);

  const std::string id_, model_;
  // Of a stream.
  Block open_ = Block::kNone;
  int64_t index_ = 0;                                   // of the block that is open, or comes next
  std::vector<std::pair<ToolCall, std::string>> held_;  // calls and their ids
  Ending ending_ = Ending::kStop;
  std::string stop_;
};

void WriteStop(Ending ending, std::string_view stop, JsonWriter& json) {
  json.Key("stop_reason").String(StopReason(ending));
  json.Key("stop_sequence");
  if (ending == Ending::kStopString) {
    json.String(stop);
  } else {
    json.Null();
  }
}

void MessagesResponse::WriteHead(JsonWriter& json) const {
  json.BeginObject().Key("id").String(id_).Key("type").String("message");
  json.Key("role").String("assistant").Key("model").String(model_);
}

std::string MessagesResponse::Whole(std::span<const ChoiceOutput> choices, const Usage& total) {
  const ChoiceOutput& choice = choices.front();
  JsonWriter json;
  WriteHead(json);
  json.Key("content").BeginArray();
  if (!choice.text.reasoning.empty()) {
    json.BeginObject().Key("type").String("thinking").Key("thinking").String(choice.text.reasoning);
    json.Key("signature").String("").EndObject();
  }
  if (!choice.text.content.empty())
    json.BeginObject().Key("type").String("text").Key("text").String(choice.text.content).EndObject();
  for (size_t i = 0; i < choice.text.calls.size(); ++i) {
    json.BeginObject().Key("type").String("tool_use").Key("id").String(choice.call_ids[i]);
    json.Key("name").String(choice.text.calls[i].name);
    json.Key("input").Raw(InputJson(choice.text.calls[i])).EndObject();
  }
  json.EndArray();
  WriteStop(choice.ending.value_or(Ending::kStop), choice.stop, json);
  WriteUsage(total, json);
  json.EndObject();
  return json.Take();
}

std::string MessagesResponse::Start(const Usage& usage) const {
  JsonWriter json = Open("message_start");
  json.Key("message");
  WriteHead(json);
  json.Key("content").BeginArray().EndArray();
  json.Key("stop_reason").Null().Key("stop_sequence").Null();
  WriteUsage(usage, json);
  json.EndObject().EndObject();
  JsonWriter ping = Open("ping");
  ping.EndObject();
  return Event("message_start", json) + Event("ping", ping);
}

std::string MessagesResponse::CloseBlock() {
  if (open_ == Block::kNone) return {};
  open_ = Block::kNone;
  JsonWriter json = Open("content_block_stop");
  json.Key("index").Int(index_++).EndObject();
  return Event("content_block_stop", json);
}

/// A piece of the block of that kind, which is opened if it is not.
std::string MessagesResponse::Delta(Block kind, std::string_view text) {
  const std::string_view type = kind == Block::kThinking ? "thinking" : "text";
  std::string events;
  if (open_ != kind) {
    events = CloseBlock();
    open_ = kind;
    JsonWriter json = Open("content_block_start");
    json.Key("index").Int(index_).Key("content_block").BeginObject();
    json.Key("type").String(type).Key(type).String("");
    if (kind == Block::kThinking) json.Key("signature").String("");
    json.EndObject().EndObject();
    events += Event("content_block_start", json);
  }
  JsonWriter json = Open("content_block_delta");
  json.Key("index").Int(index_).Key("delta").BeginObject();
  json.Key("type").String(fmt::format("{}_delta", type)).Key(type).String(text).EndObject().EndObject();
  return events + Event("content_block_delta", json);
}

std::string MessagesResponse::ToolUse(const ToolCall& call, std::string_view id) {
  JsonWriter start = Open("content_block_start"), delta = Open("content_block_delta"),
             stop = Open("content_block_stop");
  start.Key("index").Int(index_).Key("content_block").BeginObject().Key("type").String("tool_use");
  start.Key("id").String(id).Key("name").String(call.name);
  start.Key("input").BeginObject().EndObject().EndObject().EndObject();
  delta.Key("index").Int(index_).Key("delta").BeginObject().Key("type").String("input_json_delta");
  delta.Key("partial_json").String(InputJson(call)).EndObject().EndObject();
  stop.Key("index").Int(index_++).EndObject();
  return Event("content_block_start", start) + Event("content_block_delta", delta) +
         Event("content_block_stop", stop);
}

std::string MessagesResponse::Piece(const ChoiceOutput& choice, const Usage& usage) {
  std::string events;
  if (choice.first) events = Start(usage);
  if (!choice.text.reasoning.empty()) events += Delta(Block::kThinking, choice.text.reasoning);
  if (!choice.text.content.empty()) events += Delta(Block::kText, choice.text.content);
  for (size_t i = 0; i < choice.text.calls.size(); ++i)
    held_.emplace_back(choice.text.calls[i], choice.call_ids[i]);
  if (choice.ending) {
    ending_ = *choice.ending;
    stop_ = choice.stop;
  }
  return events;
}

std::string MessagesResponse::End(const Usage& total) {
  std::string events = CloseBlock();
  for (const auto& [call, id] : held_) events += ToolUse(call, id);
  JsonWriter delta = Open("message_delta"), stop = Open("message_stop");
  delta.Key("delta").BeginObject();
  WriteStop(ending_, stop_, delta);
  delta.EndObject();
  WriteUsage(total, delta);
  delta.EndObject();
  stop.EndObject();
  return events + Event("message_delta", delta) + Event("message_stop", stop);
}

}  // namespace

std::unique_ptr<Response> MakeMessagesResponse(std::string id, std::string model) {
  return std::make_unique<MessagesResponse>(std::move(id), std::move(model));
}

}  // namespace hadal::anthropic
