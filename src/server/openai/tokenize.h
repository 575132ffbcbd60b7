// POST /v1/tokenize and /v1/detokenize.
#pragma once

#include <string>

#include "server/api/api_context.h"
#include "server/api/json_fields.h"

namespace hadal::openai {

using namespace api;

/// {"prompt": text, "add_special_tokens": true} or {"messages": [...]} -> {"count", "max_model_len",
/// "tokens"}, with "return_token_strs" also "token_strs". The ids are those that the same prompt or chat
/// would be answered from.
ApiResult<std::string> Tokenize(const ApiContext& api, const Fields& fields);

/// {"tokens": [...]} -> {"prompt": text}
ApiResult<std::string> Detokenize(const ApiContext& api, const Fields& fields);

}  // namespace hadal::openai
