// The prompt of a request's chat: text/chat_prompt.h with the served model's tokenizer and template.
#pragma once

#include "server/api/api_context.h"
#include "text/chat_prompt.h"
#include "text/tool_prompt.h"

namespace hadal::api {

using Chat = hadal::ChatInput;
using hadal::ChatMessage;
using hadal::ChatPrompt;
using hadal::TemplateKnows;

/// As hadal::EncodeChat; the context has a chat template.
inline Result<ChatPrompt> EncodeChat(const ApiContext& api, const Chat& chat) {
  return hadal::EncodeChat(ChatStyle{api.tokenizer, *api.chat_template, api.format}, chat);
}

}  // namespace hadal::api
