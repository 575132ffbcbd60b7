// A chat as files of training data hold it: OpenAI's messages, read leniently where public data sets differ.
#pragma once

#include "base/status.h"
#include "text/chat_prompt.h"

namespace hadal::train {

inline constexpr size_t kMaxChatMessages = 4096;

/// {"messages": [{"role", "content", "reasoning_content"?, "name"?, "tool_call_id"?, "tool_calls"?}],
/// "tools"?, "chat_template_kwargs"?}. A content may be a list of text parts; arguments of a call may be an
/// object instead of its text. kInvalidArgument names the message and what is wrong with it.
Result<ChatInput> ParseChatLine(const jinja::Dict& object);

}  // namespace hadal::train
