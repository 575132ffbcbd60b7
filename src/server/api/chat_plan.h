// From an understood chat to the call that answers it.
#pragma once

#include "server/api/call.h"
#include "server/api/chat_prompt.h"

namespace hadal::api {

/// EncodeChat, where everything that fails is the client's fault: a chat that the template refuses, or one
/// that makes an empty prompt.
ApiResult<ChatPrompt> EncodeClientsChat(const ApiContext& api, const Chat& chat);

/// The call without its response. Tool calls are looked for if the chat offers tools.
ApiResult<CallPlan> PlanChatCall(const ApiContext& api, GenerationOptions options, const Chat& chat);

}  // namespace hadal::api
