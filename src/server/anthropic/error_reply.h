// Errors as Anthropic's clients are told of them.
#pragma once

#include <string>
#include <string_view>

#include "server/api/api_error.h"

namespace hadal::anthropic {

/// {"type": "error", "error": {"type", "message"}}. What the server can't do now (503) is Anthropic's 529.
api::ErrorReply AnthropicError(const api::ApiError& error);

/// The same for refusals of the HTTP server and of the access rules, which keep their status: a RefusalBody.
std::string AnthropicRefusal(int status, std::string_view message, std::string_view code);

}  // namespace hadal::anthropic
