#include "train/data/chat_line.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "text/jinja/text_form.h"

namespace hadal::train {
namespace {

using jinja::Dict;
using jinja::Kind;
using jinja::Value;

constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};

/// A member that is there and not null.
const Value* Member(const Dict& object, std::string_view name) {
  const Value* found = object.Find(name);
  return found && !found->is_none() ? found : nullptr;
}

/// A text member; empty if it is not there.
Result<std::string> OptionalText(const Dict& object, std::string_view name) {
  const Value* found = Member(object, name);
  if (!found) return std::string();
  if (!found->is_string()) return InvalidArgument("'{}' is a {}, expected a text", name, found->type_name());
  return found->as_string();
}

Result<std::optional<std::string>> ParseContent(const Dict& message) {
  const Value* content = Member(message, "content");
  if (!content) return std::nullopt;
  if (content->is_string()) return content->as_string();
  if (!content->is(Kind::kSequence))
    return InvalidArgument("'content' is a {}, expected a text or a list of text parts",
                           content->type_name());
  std::string joined;
  for (const Value& part : content->as_sequence().items) {
    const Value* text = part.is(Kind::kDict) ? part.as_dict().Find("text") : nullptr;
    if (!text || !text->is_string()) return InvalidArgument("a part of 'content' is no text");
    joined += text->as_string();
  }
  return joined;
}

Result<ChatMessage::Call> ParseCall(const Value& value) {
  if (!value.is(Kind::kDict)) return InvalidArgument("a tool call is no object");
  ChatMessage::Call call;
  ASSIGN_OR_RETURN(call.id, OptionalText(value.as_dict(), "id"));
  const Value* function = Member(value.as_dict(), "function");
  if (function && !function->is(Kind::kDict))
    return InvalidArgument("the 'function' of a tool call is no object");
  const Dict& from = function ? function->as_dict() : value.as_dict();
  ASSIGN_OR_RETURN(call.name, OptionalText(from, "name"));
  if (call.name.empty()) return InvalidArgument("a tool call has no 'name'");
  const Value* arguments = Member(from, "arguments");
  if (arguments && arguments->is(Kind::kDict)) {
    jinja::Runtime runtime({}, [] { return std::time_t{0}; });
    ASSIGN_OR_RETURN(call.arguments, jinja::ToJson(runtime, *arguments, {}));
  } else if (arguments) {
    ASSIGN_OR_RETURN(call.arguments, OptionalText(from, "arguments"));
  } else {
    call.arguments = "{}";
  }
  return call;
}

Result<ChatMessage> ParseMessage(const Value& value) {
  if (!value.is(Kind::kDict)) return InvalidArgument("it is no object");
  const Dict& object = value.as_dict();
  ChatMessage message;
  ASSIGN_OR_RETURN(message.role, OptionalText(object, "role"));
  if (message.role == "developer") message.role = "system";
  if (std::ranges::find(kRoles, message.role) == kRoles.end())
    return InvalidArgument("its 'role' is '{}', expected system, user, assistant or tool", message.role);
  ASSIGN_OR_RETURN(message.content, ParseContent(object));
  ASSIGN_OR_RETURN(message.name, OptionalText(object, "name"));
  ASSIGN_OR_RETURN(message.tool_call_id, OptionalText(object, "tool_call_id"));
  const bool assistant = message.role == "assistant";
  ASSIGN_OR_RETURN(const std::string reasoning, OptionalText(object, "reasoning_content"));
  if (assistant && !reasoning.empty()) message.reasoning = reasoning;
  if (const Value* calls = Member(object, "tool_calls"); assistant && calls) {
    if (!calls->is(Kind::kSequence))
      return InvalidArgument("'tool_calls' is a {}, expected a list", calls->type_name());
    for (const Value& one : calls->as_sequence().items) {
      ASSIGN_OR_RETURN(ChatMessage::Call call, ParseCall(one));
      message.calls.push_back(std::move(call));
    }
  }
  if (!message.content && message.calls.empty()) return InvalidArgument("it has no 'content'");
  return message;
}

Status ParseTools(const Value& tools, ChatInput& chat) {
  if (!tools.is(Kind::kSequence))
    return InvalidArgument("'tools' is a {}, expected a list", tools.type_name());
  for (const Value& tool : tools.as_sequence().items) {
    const Value* function = tool.is(Kind::kDict) ? Member(tool.as_dict(), "function") : nullptr;
    if (!function || !function->is(Kind::kDict))
      return InvalidArgument("a tool is not of the form {{\"type\": \"function\", \"function\": {{...}}}}");
    ASSIGN_OR_RETURN(const std::string name, OptionalText(function->as_dict(), "name"));
    if (name.empty()) return InvalidArgument("a tool has no 'name'");
    chat.tools.push_back(tool);
  }
  return {};
}

}  // namespace

Result<ChatInput> ParseChatLine(const Dict& object) {
  ChatInput chat;
  const Value* messages = Member(object, "messages");
  if (!messages || !messages->is(Kind::kSequence) || messages->as_sequence().items.empty())
    return InvalidArgument("'messages' is no list of messages, or an empty one");
  const auto& items = messages->as_sequence().items;
  if (items.size() > kMaxChatMessages)
    return InvalidArgument("there are {} messages; at most {} are taken", items.size(), kMaxChatMessages);
  for (size_t i = 0; i < items.size(); ++i) {
    Result<ChatMessage> message = ParseMessage(items[i]);
    if (!message) return InvalidArgument("message {}: {}", i + 1, message.error().message);
    chat.messages.push_back(*std::move(message));
  }
  if (const Value* tools = Member(object, "tools")) RETURN_IF_ERROR(ParseTools(*tools, chat));
  if (const Value* variables = Member(object, "chat_template_kwargs")) {
    if (!variables->is(Kind::kDict)) return InvalidArgument("'chat_template_kwargs' is no object");
    for (const auto& [name, value] : variables->as_dict().entries())
      chat.variables.emplace_back(name.as_string(), value);
  }
  return chat;
}

}  // namespace hadal::train
