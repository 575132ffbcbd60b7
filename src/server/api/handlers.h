// From a request's body to a call or a text: what the POST routes of every API have in common.
#pragma once

#include <string>

#include "server/api/call.h"

namespace hadal::api {

/// What a caller's token must grant for every route of an API.
inline constexpr std::string_view kInferScope = "infer";

/// Understands the members of a body.
using Planner = ApiResult<CallPlan> (*)(const ApiContext& api, const Fields& fields);
using JsonAnswer = ApiResult<std::string> (*)(const ApiContext& api, const Fields& fields);

/// Runs the call that `planner` makes of the body. The body must come as application/json (415) and be one
/// object of strict JSON; a large one is read on another thread, see ApiContext::run_elsewhere. Errors are
/// told in `format`. `api` outlives the handler and every request it starts.
Handler CallHandler(const ApiContext& api, Planner planner, ErrorFormat format);
/// The same for what is answered at once.
Handler JsonHandler(const ApiContext& api, JsonAnswer answer, ErrorFormat format);

}  // namespace hadal::api
