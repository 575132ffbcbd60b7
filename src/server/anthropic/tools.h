// The tools that a call offers, read and checked.
#pragma once

#include <vector>

#include "server/api/json_fields.h"

namespace hadal::anthropic {

using namespace api;

/// `tools` as the objects that templates know (OpenAI's), none if `tool_choice` is "none". Tools that
/// Anthropic's own servers define (their `type` is another than "custom") and choices that must be enforced
/// are refused by name.
ApiResult<std::vector<jinja::Value>> ReadTools(const Fields& fields);

}  // namespace hadal::anthropic
