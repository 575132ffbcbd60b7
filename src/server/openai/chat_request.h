// POST /v1/chat/completions: the call, read and checked.
#pragma once

#include <string_view>

#include "server/api/chat_prompt.h"
#include "server/openai/generation_options.h"

namespace hadal::openai {

// OpenAI's own limit.
inline constexpr size_t kMaxTools = 128;

struct ChatRequest {
  GenerationOptions options;
  Chat chat;
  bool offers_tools = false;  // and the model may call them
};

ApiResult<ChatRequest> ReadChatRequest(const Fields& fields, const ApiContext& api);

/// Messages, tools and template variables alone, for /v1/tokenize.
ApiResult<Chat> ReadChat(const Fields& fields, const ApiContext& api);

}  // namespace hadal::openai
