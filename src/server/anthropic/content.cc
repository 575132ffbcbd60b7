#include "server/anthropic/content.h"

#include <ctime>

#include "server/api/tools.h"
#include "text/jinja/text_form.h"

namespace hadal::anthropic {
namespace {

/// A content: one text, or the blocks of an array, each given to `take(fields, type)`.
template <typename TakeText, typename TakeBlock>
ApiStatus ReadContent(const Json& content, const std::string& place, TakeText take_text,
                      TakeBlock take_block) {
  std::string_view text;
  simdjson::dom::array blocks;
  if (!content.get(text)) {
    take_text(text);
    return {};
  }
  if (content.get(blocks))
    return BadField(place, "'{}' must be a string or an array of blocks and is {}", place, KindOf(content));
  size_t index = 0;
  for (const Json block : blocks) {
    ASSIGN_OR_RETURN(const Fields fields, Fields::Of(block, fmt::format("{}[{}]", place, index++)));
    std::string type;
    RETURN_IF_ERROR(fields.Take("type", type));
    RETURN_IF_ERROR(take_block(fields, type));
  }
  return {};
}

ApiStatus TakeRequired(const Fields& fields, std::string_view name, std::string& out) {
  if (!fields.Find(name)) return BadField(fields.Place(name), "'{}' is missing", fields.Place(name));
  return fields.Take(name, out);
}

tl::unexpected<ApiError> RefuseBlock(const Fields& fields, std::string_view type, std::string_view taken) {
  const std::string place = fields.Place("type");
  return BadField(place, "'{}' is '{}'; {}", place, type.substr(0, 64), taken);
}

/// A content that may only hold text.
ApiResult<std::string> ReadText(const Json& content, const std::string& place) {
  std::string all;
  RETURN_IF_ERROR(ReadContent(
      content, place, [&](std::string_view text) { all = text; },
      [&](const Fields& fields, std::string_view type) -> ApiStatus {
        if (type != "text") return RefuseBlock(fields, type, "only 'text' can stand here");
        std::string text;
        RETURN_IF_ERROR(TakeRequired(fields, "text", text));
        all += text;
        return {};
      }));
  return all;
}

ApiResult<ChatMessage> ReadToolResult(const Fields& fields) {
  ChatMessage message{.role = "tool"};
  bool is_error = false;
  RETURN_IF_ERROR(TakeRequired(fields, "tool_use_id", message.tool_call_id));
  RETURN_IF_ERROR(fields.Take("is_error", is_error));
  message.content = is_error ? "Error: " : "";
  if (const Json* content = fields.Find("content")) {
    ASSIGN_OR_RETURN(const std::string text, ReadText(*content, fields.Place("content")));
    *message.content += text;
  }
  return message;
}

/// The user's texts and the results of tools, in their order.
ApiStatus ReadUser(const Json& content, const std::string& place, std::vector<ChatMessage>& messages) {
  ChatMessage texts{.role = "user"};
  const auto flush = [&] {
    if (texts.content) messages.push_back(std::exchange(texts, {.role = "user"}));
  };
  const auto take_text = [&](std::string_view text) {
    if (!texts.content) texts.content.emplace();
    *texts.content += text;
  };
  const size_t before = messages.size();
  RETURN_IF_ERROR(
      ReadContent(content, place, take_text, [&](const Fields& fields, std::string_view type) -> ApiStatus {
        if (type == "text") {
          std::string text;
          RETURN_IF_ERROR(TakeRequired(fields, "text", text));
          take_text(text);
          return {};
        }
        if (type != "tool_result")
          return RefuseBlock(fields, type, "a user's message takes 'text' and 'tool_result'");
        ASSIGN_OR_RETURN(ChatMessage result, ReadToolResult(fields));
        flush();
        messages.push_back(std::move(result));
        return {};
      }));
  flush();
  if (messages.size() == before) return BadField(place, "'{}' is empty", place);
  return {};
}

ApiResult<ChatMessage::Call> ReadToolUse(const Fields& fields) {
  ChatMessage::Call call;
  RETURN_IF_ERROR(TakeRequired(fields, "id", call.id));
  RETURN_IF_ERROR(TakeRequired(fields, "name", call.name));
  if (call.name.empty()) return BadField(fields.Place("name"), "'{}' is empty", fields.Place("name"));
  const Json* input = fields.Find("input");
  if (!input) return BadField(fields.Place("input"), "'{}' is missing", fields.Place("input"));
  RETURN_IF_ERROR(Fields::Of(*input, fields.Place("input")));
  ASSIGN_OR_RETURN(const jinja::Value value, ToTemplateValue(*input));
  jinja::Runtime runtime({}, [] { return std::time_t{0}; });
  auto json = jinja::ToJson(runtime, value, {});
  if (!json) return tl::unexpected(ClientsFault(std::move(json).error()));
  call.arguments = *std::move(json);
  return call;
}

ApiStatus TakeAssistantBlock(const Fields& fields, std::string_view type, ChatMessage& message) {
  if (type == "text") {
    std::string text;
    RETURN_IF_ERROR(TakeRequired(fields, "text", text));
    message.content = message.content.value_or("") + text;
  } else if (type == "thinking") {
    std::string text;
    RETURN_IF_ERROR(TakeRequired(fields, "thinking", text));
    message.reasoning = message.reasoning.value_or("") + text;
  } else if (type == "tool_use") {
    if (message.calls.size() == kMaxTools)
      return BadField(fields.Place("type"), "the message has more than {} tool calls", kMaxTools);
    ASSIGN_OR_RETURN(ChatMessage::Call call, ReadToolUse(fields));
    message.calls.push_back(std::move(call));
  } else {
    return RefuseBlock(fields, type, "an assistant's message takes 'text', 'thinking' and 'tool_use'");
  }
  return {};
}

ApiStatus ReadAssistant(const Json& content, const std::string& place, std::vector<ChatMessage>& messages) {
  ChatMessage message{.role = "assistant"};
  RETURN_IF_ERROR(ReadContent(
      content, place, [&](std::string_view text) { message.content = text; },
      [&](const Fields& fields, std::string_view type) {
        return TakeAssistantBlock(fields, type, message);
      }));
  // Templates tell a turn that only calls tools by its None.
  if (message.calls.empty()) {
    if (!message.content) message.content = "";
  } else if (message.content == "") {
    message.content.reset();
  }
  messages.push_back(std::move(message));
  return {};
}

}  // namespace

ApiStatus ReadSystem(const Fields& fields, std::vector<ChatMessage>& messages) {
  const Json* found = fields.Find("system");
  if (!found) return {};
  ASSIGN_OR_RETURN(std::string text, ReadText(*found, "system"));
  if (!text.empty()) messages.push_back({.role = "system", .content = std::move(text)});
  return {};
}

ApiStatus ReadMessages(const Fields& fields, std::vector<ChatMessage>& messages) {
  const Json* found = fields.Find("messages");
  simdjson::dom::array items;
  if (!found) return BadField("messages", "'messages' is missing or null");
  if (found->get(items)) return BadField("messages", "'messages' must be an array and is {}", KindOf(*found));
  size_t index = 0;
  std::string role;
  for (const Json item : items) {
    ASSIGN_OR_RETURN(const Fields message, Fields::Of(item, fmt::format("messages[{}]", index++)));
    RETURN_IF_ERROR(TakeRequired(message, "role", role));
    const std::string place = message.Place("content");
    const Json* content = message.Find("content");
    if (!content) return BadField(place, "'{}' is missing or null", place);
    if (role == "user") {
      RETURN_IF_ERROR(ReadUser(*content, place, messages));
    } else if (role == "assistant") {
      RETURN_IF_ERROR(ReadAssistant(*content, place, messages));
    } else {
      return BadField(message.Place("role"), "'{}' must be user or assistant and is '{}'",
                      message.Place("role"), role.substr(0, 64));
    }
  }
  if (index == 0) return BadField("messages", "'messages' is empty; it needs at least one message");
  if (role != "user")
    return BadField("messages", "the last message is the assistant's; this server cannot continue it");
  return {};
}

}  // namespace hadal::anthropic
