// The routes of Anthropic's Messages API.
#pragma once

#include <vector>

#include "server/api/api_context.h"

namespace hadal::anthropic {

/// POST /v1/messages and /v1/messages/count_tokens; both need the scope api::kInferScope. `api` outlives the
/// routes and every request they start; a bug (CHECK) without a backend.
std::vector<Route> AnthropicRoutes(const api::ApiContext& api);

}  // namespace hadal::anthropic
