// POST /v1/chat/completions: the call, read and checked.
#pragma once

#include <string_view>

#include "server/api/chat_prompt.h"
#include "server/openai/generation_options.h"

namespace hadal::openai {

struct ChatRequest {
  GenerationOptions options;
  Chat chat;
};

ApiResult<ChatRequest> ReadChatRequest(const Fields& fields, const ApiContext& api);

/// Messages, tools and template variables alone, for /v1/tokenize.
ApiResult<Chat> ReadChat(const Fields& fields, const ApiContext& api);

}  // namespace hadal::openai
