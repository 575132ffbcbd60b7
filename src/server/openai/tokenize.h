// POST /v1/tokenize and /v1/detokenize.
#pragma once

#include <string>

#include "server/openai/api_context.h"
#include "server/openai/api_error.h"

namespace hadal::openai {

/// {"prompt": text, "add_special_tokens": true} or {"messages": [...]} -> {"count", "max_model_len",
/// "tokens"}, with "return_token_strs" also "token_strs". The ids are those that the same prompt or chat
/// would be answered from.
ApiResult<std::string> Tokenize(const ApiContext& api, std::string_view body);

/// {"tokens": [...]} -> {"prompt": text}
ApiResult<std::string> Detokenize(const ApiContext& api, std::string_view body);

}  // namespace hadal::openai
