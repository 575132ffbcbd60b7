// Errors as OpenAI's clients are told of them.
#pragma once

#include "server/api/api_error.h"

namespace hadal::openai {

/// {"error": {"message", "type", "param", "code"}}
api::ErrorReply OpenAiError(const api::ApiError& error);

}  // namespace hadal::openai
