// From messages to the prompt's tokens, so that no text from outside can pass for the template's markers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/api/api_context.h"
#include "text/jinja/value.h"

namespace hadal::api {

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

struct Chat {
  std::vector<ChatMessage> messages;
  std::vector<jinja::Value> tools;                              // OpenAI's objects; none: none offered
  std::vector<std::pair<std::string, jinja::Value>> variables;  // more for the template: `thinking`
};

struct ChatPrompt {
  std::string text;
  std::vector<int32_t> ids;
};

/// Renders the chat with the model's template, ready for the assistant's turn, and encodes it.
///
/// Added tokens such as <｜User｜> are recognised only in what the template itself prints, never in what the
/// chat's strings brought into the text: there they are encoded as ordinary text. For that the template is
/// rendered twice, plainly and with every string of the chat between two characters that no text has (U+FDD0
/// to U+FDEF, which Unicode keeps for such uses); what lies between them is the chat's. The pieces between
/// added tokens are encoded as one text, so a chat without such strings gets the ids of the plain rendering.
/// In the assistant's earlier turns <think> and </think> stay what they are, since templates look for them.
/// If a template does something to the strings that the marks would change, the plain rendering is taken as
/// it is, unless a string of the chat holds an added token: that is refused.
///
/// Tools are given to the template as `tools` if it knows that variable; else they are described in the
/// system message, as the model's makers do (tool_prompt.h). kInvalidArgument: the template refuses the chat,
/// or the model can't be offered tools.
Result<ChatPrompt> EncodeChat(const ApiContext& api, const Chat& chat);

}  // namespace hadal::api
