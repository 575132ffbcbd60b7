// Anthropic's messages, whose contents are blocks, as the chat that templates know.
#pragma once

#include <vector>

#include "server/api/chat_prompt.h"
#include "server/api/json_fields.h"

namespace hadal::anthropic {

using namespace api;

/// Appends `system`, a string or blocks of text, as the first message; nothing if it is absent or empty.
ApiStatus ReadSystem(const Fields& fields, std::vector<ChatMessage>& messages);

/// Appends `messages`. Blocks of text, tool_use, tool_result and thinking; others (images, documents, ...)
/// are refused by name, as nothing but text reaches the model. A tool_result becomes a message of the role
/// "tool", with "Error: " before its text if it is one; the text after it becomes the user's next message.
/// The last message must be the user's: an answer that is begun already cannot be continued.
ApiStatus ReadMessages(const Fields& fields, std::vector<ChatMessage>& messages);

}  // namespace hadal::anthropic
