// The routes of the OpenAI API.
#pragma once

#include <vector>

#include "server/openai/api_context.h"

namespace hadal::openai {

/// What a caller's token must grant for every route here.
inline constexpr std::string_view kInferScope = "infer";

/// GET /v1/models and /v1/models/{id}; POST /v1/chat/completions, /v1/completions, /v1/tokenize,
/// /v1/detokenize. `api` outlives the routes and every request they start; a bug (CHECK) without a backend.
std::vector<Route> OpenAiRoutes(const ApiContext& api);

}  // namespace hadal::openai
