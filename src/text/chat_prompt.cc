#include "text/chat_prompt.h"

#include <algorithm>
#include <map>

#include "text/tool_prompt.h"
#include "text/utf8.h"

namespace hadal {
namespace {

using jinja::Value;

constexpr std::string_view kWhiteSpace = " \t\r\n";

/// Puts a chat's strings between marks; with empty marks it leaves them as they are.
struct Quoter {
  std::string open, close;

  /// White space around a text stays outside, so that templates may trim.
  std::string Quote(std::string_view text) const {
    const size_t begin = text.find_first_not_of(kWhiteSpace);
    if (open.empty() || begin == text.npos) return std::string(text);
    const size_t end = text.find_last_not_of(kWhiteSpace) + 1;
    std::string quoted(text.substr(0, begin));
    quoted.append(open).append(text.substr(begin, end - begin)).append(close).append(text.substr(end));
    return quoted;
  }

  /// As Quote, with think markers left outside.
  std::string QuoteAroundThinking(std::string_view text) const {
    std::string quoted;
    while (true) {
      const size_t begin = text.find("<think>"), end = text.find("</think>");
      const size_t at = std::min(begin, end);
      quoted += Quote(text.substr(0, at));
      if (at == text.npos) return quoted;
      const size_t length = std::string_view(begin < end ? "<think>" : "</think>").size();
      quoted += text.substr(at, length);
      text.remove_prefix(at + length);
    }
  }
};

Value Text(std::string text) { return Value::String(std::move(text)); }
Value Object(jinja::Dict dict) { return Value::Of(std::make_shared<const jinja::Dict>(std::move(dict))); }
Value List(std::vector<Value> items) {
  jinja::Sequence list;
  for (const Value& item : items) list.depth = std::max(list.depth, 1 + item.depth());
  list.items = std::move(items);
  return Value::Of(std::make_shared<const jinja::Sequence>(std::move(list)));
}

Value CallValue(const ChatMessage::Call& call, const Quoter& quoter) {
  jinja::Dict function, whole;
  function.Set(Text("name"), Text(quoter.Quote(call.name)));
  function.Set(Text("arguments"), Text(quoter.Quote(call.arguments)));
  whole.Set(Text("id"), Text(quoter.Quote(call.id)));
  whole.Set(Text("type"), Text("function"));
  whole.Set(Text("function"), Object(std::move(function)));
  return Object(std::move(whole));
}

/// `more` is the server's own text for the end of the content.
Value MessageValue(const ChatMessage& message, const Quoter& quoter, std::string_view more) {
  jinja::Dict dict;
  const auto quote = [&](const std::string& text) {
    return message.role == "assistant" ? quoter.QuoteAroundThinking(text) : quoter.Quote(text);
  };
  dict.Set(Text("role"), Text(message.role));
  dict.Set(Text("content"), message.content ? Text(quote(*message.content).append(more)) : Value::None());
  if (message.reasoning) dict.Set(Text("reasoning_content"), Text(quoter.Quote(*message.reasoning)));
  if (!message.name.empty()) dict.Set(Text("name"), Text(quoter.Quote(message.name)));
  if (!message.tool_call_id.empty()) dict.Set(Text("tool_call_id"), Text(quoter.Quote(message.tool_call_id)));
  if (!message.calls.empty()) {
    std::vector<Value> calls;
    for (const ChatMessage::Call& call : message.calls) calls.push_back(CallValue(call, quoter));
    dict.Set(Text("tool_calls"), List(std::move(calls)));
  }
  return Object(std::move(dict));
}

/// Keys that templates look up are plain words; others are quoted like any text.
bool IsPlainKey(std::string_view key) {
  return std::ranges::all_of(
      key, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '$'; });
}

/// `value` with the strings in it quoted. Nesting is bounded by kMaxJsonDepth.
Value Quoted(const Value& value, const Quoter& quoter) {
  if (value.is_string()) return Text(quoter.Quote(value.as_string()));
  if (value.is(jinja::Kind::kSequence)) {
    std::vector<Value> items;
    for (const Value& item : value.as_sequence().items) items.push_back(Quoted(item, quoter));
    return List(std::move(items));
  }
  if (!value.is(jinja::Kind::kDict)) return value;
  jinja::Dict dict;
  for (const auto& [key, item] : value.as_dict().entries())
    dict.Set(IsPlainKey(key.as_string()) ? key : Text(quoter.Quote(key.as_string())), Quoted(item, quoter));
  return Object(std::move(dict));
}

/// The template's variables. Without a system message, one is made for the tools that need it.
Result<Value> Variables(const ChatStyle& style, const ChatInput& chat, const Quoter& quoter,
                        bool generation_prompt) {
  jinja::Dict variables;
  for (const auto& [name, value] : chat.variables) variables.Set(Text(name), Quoted(value, quoter));
  std::string described;
  if (!chat.tools.empty() && TemplateKnows(style.chat_template.source(), "tools")) {
    std::vector<Value> tools;
    for (const Value& tool : chat.tools) tools.push_back(Quoted(tool, quoter));
    variables.Set(Text("tools"), List(std::move(tools)));
  } else if (!chat.tools.empty()) {
    ASSIGN_OR_RETURN(described, DescribeTools(chat.tools, style.format.tools,
                                              [&](std::string text) { return quoter.Quote(text); }));
  }
  std::vector<Value> messages;
  const bool has_system = chat.messages.front().role == "system";
  if (!described.empty() && !has_system)
    messages.push_back(MessageValue({"system", "", {}, {}, {}, {}}, quoter, described));
  for (const ChatMessage& message : chat.messages) {
    const bool takes_tools = messages.empty() && !described.empty();
    messages.push_back(MessageValue(message, quoter, takes_tools ? "\n\n" + described : std::string()));
  }
  variables.Set(Text("messages"), List(std::move(messages)));
  variables.Set(Text("add_generation_prompt"), Value::Bool(generation_prompt));
  return Object(std::move(variables));
}

Result<std::string> Render(const ChatStyle& style, const ChatInput& chat, const Quoter& quoter,
                           bool generation_prompt) {
  ASSIGN_OR_RETURN(const Value variables, Variables(style, chat, quoter, generation_prompt));
  return style.chat_template.Render(variables);
}

/// Two characters that do not occur in `text`.
Result<Quoter> ChooseMarks(std::string_view text) {
  std::vector<std::string> free;
  for (char32_t mark = 0xFDD0; mark <= 0xFDEF && free.size() < 2; ++mark) {
    std::string bytes;
    AppendUtf8(mark, bytes);
    if (text.find(bytes) == text.npos) free.push_back(std::move(bytes));
  }
  if (free.size() < 2)
    return InvalidArgument("the messages hold too many of the noncharacters U+FDD0 to U+FDEF");
  return Quoter{free[0], free[1]};
}

/// `marked` cut at its marks; nothing if they don't come in pairs, or the text between them is not `plain`.
std::optional<std::vector<RenderedChat::Part>> CutAtMarks(std::string_view marked, const Quoter& quoter,
                                                          std::string_view plain) {
  std::vector<RenderedChat::Part> parts;
  size_t length = 0;
  bool quoted = false;
  while (true) {
    const size_t end = marked.find(quoted ? quoter.close : quoter.open);
    const std::string_view text = marked.substr(0, end);
    if (text.find(quoted ? quoter.open : quoter.close) != text.npos) return std::nullopt;
    if (plain.substr(std::min(length, plain.size()), text.size()) != text) return std::nullopt;
    if (!text.empty()) parts.push_back({length, text.size(), quoted});
    length += text.size();
    if (end == marked.npos) break;
    marked.remove_prefix(end + quoter.open.size());
    quoted = !quoted;
  }
  if (quoted || length != plain.size()) return std::nullopt;
  return parts;
}

class PartEncoder {
 public:
  explicit PartEncoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  Result<std::vector<int32_t>> Encode(const std::vector<ChatPart>& parts) {
    for (const ChatPart& part : parts) {
      if (part.quoted) {
        pending_ += part.text;
      } else {
        RETURN_IF_ERROR(AddTemplateText(part.text));
      }
    }
    RETURN_IF_ERROR(FlushPending());
    return std::move(ids_);
  }

 private:
  /// Added tokens end the pending text; what stands between them belongs to it.
  Status AddTemplateText(std::string_view text) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_.Encode(text));
    for (const int32_t id : ids) {
      ASSIGN_OR_RETURN(const std::string_view bytes, tokenizer_.TokenBytes(id));
      ASSIGN_OR_RETURN(const bool added, IsAdded(id, bytes));
      if (added) {
        RETURN_IF_ERROR(FlushPending());
        ids_.push_back(id);
      } else {
        pending_ += bytes;
      }
    }
    return {};
  }

  Status FlushPending() {
    if (pending_.empty()) return {};
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_.Encode(pending_, {.parse_special = false}));
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    pending_.clear();
    return {};
  }

  /// A token is an added one if its text is encoded otherwise when none are looked for.
  Result<bool> IsAdded(int32_t id, std::string_view bytes) {
    if (const auto known = added_.find(id); known != added_.end()) return known->second;
    ASSIGN_OR_RETURN(const std::vector<int32_t> with, tokenizer_.Encode(bytes));
    ASSIGN_OR_RETURN(const std::vector<int32_t> without, tokenizer_.Encode(bytes, {.parse_special = false}));
    return added_[id] = with != without;
  }

  const Tokenizer& tokenizer_;
  std::map<int32_t, bool> added_;
  std::string pending_;  // ordinary text since the last added token
  std::vector<int32_t> ids_;
};

/// Whether a string of the chat holds an added token: decides where marks can't be used.
Result<bool> HoldsAddedToken(const Tokenizer& tokenizer, std::string_view text) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> with, tokenizer.Encode(text));
  ASSIGN_OR_RETURN(const std::vector<int32_t> without, tokenizer.Encode(text, {.parse_special = false}));
  return with != without;
}

Status RefuseAddedTokens(const Tokenizer& tokenizer, const ChatInput& chat) {
  const auto check = [&](std::string_view text) -> Status {
    ASSIGN_OR_RETURN(const bool holds, HoldsAddedToken(tokenizer, text));
    if (holds)
      return InvalidArgument(
          "a message holds a control token of the model, which this chat template would "
          "let pass for its own");
    return {};
  };
  for (const ChatMessage& message : chat.messages) {
    RETURN_IF_ERROR(check(message.content.value_or("")));
    RETURN_IF_ERROR(check(message.reasoning.value_or("")));
    RETURN_IF_ERROR(check(message.name));
    RETURN_IF_ERROR(check(message.tool_call_id));
    for (const ChatMessage::Call& call : message.calls) {
      RETURN_IF_ERROR(check(call.id));
      RETURN_IF_ERROR(check(call.name));
      RETURN_IF_ERROR(check(call.arguments));
    }
  }
  std::vector<Value> more = chat.tools;
  for (const auto& [name, value] : chat.variables) more.push_back(value);
  jinja::Runtime runtime({}, [] { return std::time_t{0}; });
  ASSIGN_OR_RETURN(const std::string json, jinja::ToJson(runtime, List(std::move(more)), {}));
  return check(json);
}

}  // namespace

std::vector<ChatPart> RenderedChat::Within(size_t begin, size_t end) const {
  std::vector<ChatPart> within;
  for (const Part& part : parts) {
    const size_t first = std::max(begin, part.begin), last = std::min(end, part.begin + part.length);
    if (first < last) within.push_back({std::string_view(text).substr(first, last - first), part.quoted});
  }
  return within;
}

Result<RenderedChat> RenderChat(const ChatStyle& style, const ChatInput& chat, bool generation_prompt) {
  RenderedChat rendered;
  ASSIGN_OR_RETURN(rendered.text, Render(style, chat, {}, generation_prompt));
  ASSIGN_OR_RETURN(const Quoter quoter, ChooseMarks(rendered.text));
  const Result<std::string> marked = Render(style, chat, quoter, generation_prompt);
  auto parts = marked ? CutAtMarks(*marked, quoter, rendered.text) : std::nullopt;
  if (parts) {
    rendered.parts = *std::move(parts);
    return rendered;
  }
  RETURN_IF_ERROR(RefuseAddedTokens(style.tokenizer, chat));
  rendered.parts = {{0, rendered.text.size(), false}};
  return rendered;
}

Result<std::vector<int32_t>> EncodeParts(const Tokenizer& tokenizer, const std::vector<ChatPart>& parts) {
  return PartEncoder(tokenizer).Encode(parts);
}

Result<ChatPrompt> EncodeChat(const ChatStyle& style, const ChatInput& chat) {
  ASSIGN_OR_RETURN(RenderedChat rendered, RenderChat(style, chat, /*generation_prompt=*/true));
  ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                   EncodeParts(style.tokenizer, rendered.Within(0, rendered.text.size())));
  return ChatPrompt{std::move(rendered.text), std::move(ids)};
}

}  // namespace hadal
