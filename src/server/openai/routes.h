// The routes of the OpenAI API.
#pragma once

#include <vector>

#include "server/api/api_context.h"

namespace hadal::openai {

using namespace api;

/// GET /v1/models and /v1/models/{id}; POST /v1/chat/completions, /v1/completions, /v1/tokenize,
/// /v1/detokenize. Every one needs the scope kInferScope. `api` outlives the routes and every request they
/// start; a bug (CHECK) without a backend.
std::vector<Route> OpenAiRoutes(const ApiContext& api);

}  // namespace hadal::openai
