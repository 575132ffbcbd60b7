// POST /v1/messages: the call, read and checked.
#pragma once

#include "server/api/chat_prompt.h"
#include "server/api/generation_options.h"

namespace hadal::anthropic {

using namespace api;

struct MessagesRequest {
  GenerationOptions options;
  Chat chat;
};

/// Fields that would change the answer and that there is nothing for are refused by name; unknown ones are
/// ignored. Without a seed one is drawn.
ApiResult<MessagesRequest> ReadMessagesRequest(const Fields& fields, const ApiContext& api);

/// What makes the prompt: model, system, messages, tools, thinking. Into `form` goes what the answer
/// and its calls must be like.
ApiResult<Chat> ReadMessagesChat(const Fields& fields, const ApiContext& api, OutputSpec& form);

}  // namespace hadal::anthropic
