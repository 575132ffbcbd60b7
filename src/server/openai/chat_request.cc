#include "server/openai/chat_request.h"

#include <algorithm>

#include "server/api/tools.h"
#include "server/openai/chat_tools.h"

namespace hadal::openai {
namespace {

constexpr std::string_view kReserved[] = {"messages", "tools", "documents", "add_generation_prompt",
                                          "chat_template"};

/// One entry of a content that is an array. Only text: nothing is ever fetched.
ApiResult<std::string> ReadPart(Json part, std::string place) {
  ASSIGN_OR_RETURN(const Fields fields, Fields::Of(part, std::move(place)));
  std::string type, text;
  RETURN_IF_ERROR(fields.Take("type", type));
  if (type != "text")
    return BadField(fields.Place("type"), "'{}' is '{}'; this model takes only text", fields.Place("type"),
                    type.substr(0, 64));
  if (!fields.Find("text")) return BadField(fields.Place("text"), "'{}' is missing", fields.Place("text"));
  RETURN_IF_ERROR(fields.Take("text", text));
  return text;
}

ApiStatus ReadContent(const Fields& fields, ChatMessage& message) {
  const std::string place = fields.Place("content");
  const Json* found = fields.Find("content");
  std::string_view text;
  simdjson::dom::array parts;
  if (!found) {
    if (message.calls.empty()) return BadField(place, "'{}' is missing or null", place);
  } else if (!found->get(text)) {
    message.content = text;
  } else if (!found->get(parts)) {
    message.content.emplace();
    size_t index = 0;
    for (const Json part : parts) {
      ASSIGN_OR_RETURN(const std::string one, ReadPart(part, fmt::format("{}[{}]", place, index++)));
      *message.content += one;
    }
  } else {
    return BadField(place, "'{}' must be a string or an array of parts and is {}", place, KindOf(*found));
  }
  // Templates tell a turn that only calls tools by its None.
  if (!message.calls.empty() && message.content == "") message.content.reset();
  return {};
}

ApiResult<ChatMessage::Call> ReadCall(Json call, std::string place) {
  ASSIGN_OR_RETURN(const Fields fields, Fields::Of(call, std::move(place)));
  const Json* function = fields.Find("function");
  if (!function) return BadField(fields.Place("function"), "'{}' is missing", fields.Place("function"));
  ASSIGN_OR_RETURN(const Fields called, Fields::Of(*function, fields.Place("function")));
  ChatMessage::Call made;
  RETURN_IF_ERROR(fields.Take("id", made.id));
  RETURN_IF_ERROR(called.Take("name", made.name));
  RETURN_IF_ERROR(called.Take("arguments", made.arguments));
  if (made.name.empty())
    return BadField(called.Place("name"), "'{}' is missing or empty", called.Place("name"));
  return made;
}

ApiStatus ReadCalls(const Fields& fields, std::vector<ChatMessage::Call>& calls) {
  const Json* found = fields.Find("tool_calls");
  if (!found) return {};
  const std::string place = fields.Place("tool_calls");
  simdjson::dom::array items;
  if (found->get(items)) return BadField(place, "'{}' must be an array and is {}", place, KindOf(*found));
  for (const Json item : items) {
    if (calls.size() == kMaxTools) return BadField(place, "'{}' has more than {} entries", place, kMaxTools);
    ASSIGN_OR_RETURN(ChatMessage::Call call, ReadCall(item, fmt::format("{}[{}]", place, calls.size())));
    calls.push_back(std::move(call));
  }
  return {};
}

ApiStatus ReadRole(const Fields& fields, std::string& role) {
  RETURN_IF_ERROR(fields.Take("role", role));
  if (role == "developer") role = "system";  // OpenAI's newer name for it
  for (const std::string_view known : {"system", "user", "assistant", "tool"}) {
    if (role == known) return {};
  }
  return BadField(fields.Place("role"), "'{}' must be system, developer, user, assistant or tool and is '{}'",
                  fields.Place("role"), role.substr(0, 64));
}

ApiResult<ChatMessage> ReadMessage(Json value, std::string place) {
  ASSIGN_OR_RETURN(const Fields fields, Fields::Of(value, std::move(place)));
  ChatMessage message;
  RETURN_IF_ERROR(ReadRole(fields, message.role));
  if (message.role == "assistant") {
    RETURN_IF_ERROR(ReadCalls(fields, message.calls));
    if (fields.Find("reasoning_content")) message.reasoning.emplace();
    if (message.reasoning) RETURN_IF_ERROR(fields.Take("reasoning_content", *message.reasoning));
  }
  RETURN_IF_ERROR(fields.Take("name", message.name));
  RETURN_IF_ERROR(fields.Take("tool_call_id", message.tool_call_id));
  RETURN_IF_ERROR(ReadContent(fields, message));
  return message;
}

ApiStatus ReadMessages(const Fields& fields, std::vector<ChatMessage>& messages) {
  const Json* found = fields.Find("messages");
  simdjson::dom::array items;
  if (!found) return BadField("messages", "'messages' is missing or null");
  if (found->get(items)) return BadField("messages", "'messages' must be an array and is {}", KindOf(*found));
  for (const Json item : items) {
    ASSIGN_OR_RETURN(ChatMessage message, ReadMessage(item, fmt::format("messages[{}]", messages.size())));
    messages.push_back(std::move(message));
  }
  if (messages.empty()) return BadField("messages", "'messages' is empty; it needs at least one message");
  return {};
}

ApiStatus ReadVariables(const Fields& fields, std::vector<std::pair<std::string, jinja::Value>>& variables) {
  const Json* found = fields.Find("chat_template_kwargs");
  if (!found) return {};
  ASSIGN_OR_RETURN(const Fields given, Fields::Of(*found, "chat_template_kwargs"));
  for (const auto& [name, value] : given.members()) {
    // Special tokens are the folder's.
    if (std::ranges::find(kReserved, name) != std::end(kReserved) || name.ends_with("_token"))
      return BadField("chat_template_kwargs", "'chat_template_kwargs' cannot set '{}'", name.substr(0, 64));
    ASSIGN_OR_RETURN(jinja::Value made, ToTemplateValue(value));
    variables.emplace_back(name, std::move(made));
  }
  return {};
}

ApiStatus ReadLogprobs(const Fields& fields, int& logprobs) {
  bool wanted = false;
  RETURN_IF_ERROR(fields.Take("logprobs", wanted));
  int64_t top = 0;
  RETURN_IF_ERROR(fields.Take("top_logprobs", top, 0, kMaxTopLogprobs));
  if (!wanted && fields.Find("top_logprobs"))
    return BadField("top_logprobs", "'top_logprobs' needs 'logprobs': true");
  if (wanted) logprobs = static_cast<int>(top);
  return {};
}

}  // namespace

ApiResult<Chat> ReadChat(const Fields& fields, const ApiContext& api) {
  if (!api.chat_template)
    return BadField("messages",
                    "the model has no chat template; use /v1/completions, whose prompt is the text");
  Chat chat;
  RETURN_IF_ERROR(ReadMessages(fields, chat.messages));
  ASSIGN_OR_RETURN(chat.tools, ReadTools(fields));
  RETURN_IF_ERROR(ReadVariables(fields, chat.variables));
  return chat;
}

ApiResult<ChatRequest> ReadChatRequest(const Fields& fields, const ApiContext& api) {
  RETURN_IF_ERROR(CheckModel(fields, api));
  ChatRequest request;
  ASSIGN_OR_RETURN(request.options, ReadGenerationOptions(fields, api));
  RETURN_IF_ERROR(ReadLogprobs(fields, request.options.logprobs));
  ASSIGN_OR_RETURN(request.chat, ReadChat(fields, api));
  RETURN_IF_ERROR(ReadToolForm(fields, request.options.output));
  return request;
}

}  // namespace hadal::openai
