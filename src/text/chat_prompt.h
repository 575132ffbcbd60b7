// From messages to the prompt's tokens, so that no text from outside can pass for the template's markers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja/value.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

namespace hadal {

struct ChatMessage {
  struct Call {
    std::string id, name, arguments;
  };
  std::string role;                         // system, user, assistant or tool
  std::optional<std::string> content = {};  // absent: None in the template
  std::optional<std::string> reasoning = {};
  std::string name = {}, tool_call_id = {};  // empty: absent
  std::vector<Call> calls = {};
};

struct ChatInput {
  std::vector<ChatMessage> messages;
  std::vector<jinja::Value> tools;                              // OpenAI's objects; none: none offered
  std::vector<std::pair<std::string, jinja::Value>> variables;  // more for the template: `thinking`
};

struct ChatPrompt {
  std::string text;
  std::vector<int32_t> ids;
};

/// What chats of a model are written with. Points to what must live longer.
struct ChatStyle {
  const Tokenizer& tokenizer;
  const ChatTemplate& chat_template;
  OutputFormat format;
};

/// A stretch of a rendered text, and whether it came from the chat's strings.
struct ChatPart {
  std::string_view text;
  bool quoted = false;
};

/// A chat as the template writes it.
struct RenderedChat {
  std::string text;
  /// Of `text`, in order: at `begin`, `length` bytes.
  struct Part {
    size_t begin, length;
    bool quoted;
  };
  std::vector<Part> parts;
  /// The parts within [begin, end) of the text.
  std::vector<ChatPart> Within(size_t begin, size_t end) const;
};

/// Renders the chat with the model's template; with `generation_prompt` ready for the assistant's turn.
///
/// Added tokens such as <｜User｜> are to be recognised only in what the template itself prints, never in
/// what the chat's strings brought into the text: those are the quoted parts. To know them the template is
/// rendered twice, plainly and with every string of the chat between two characters that no text has (U+FDD0
/// to U+FDEF, which Unicode keeps for such uses); what lies between them is the chat's. In the assistant's
/// earlier turns <think> and
/// </think> stay what they are, since templates look for them. If a template does something to the strings
/// that the marks would change, the plain rendering is taken as it is, unless a string of the chat holds an
/// added token: that is refused.
///
/// Tools are given to the template as `tools` if it knows that variable; else they are described in the
/// system message, as the model's makers do (tool_prompt.h). kInvalidArgument: the template refuses the chat,
/// or the model can't be offered tools. `chat` has at least one message.
Result<RenderedChat> RenderChat(const ChatStyle& style, const ChatInput& chat, bool generation_prompt);

/// Encodes parts as one text in which added tokens are recognised outside of quotes only. The pieces between
/// added tokens are encoded as one text, so parts without such strings get the ids of the plain text.
Result<std::vector<int32_t>> EncodeParts(const Tokenizer& tokenizer, const std::vector<ChatPart>& parts);

/// RenderChat, ready for the assistant's turn, and EncodeParts.
Result<ChatPrompt> EncodeChat(const ChatStyle& style, const ChatInput& chat);

}  // namespace hadal
