// The tools that a call offers, read and checked.
#pragma once

#include <vector>

#include "server/api/json_fields.h"
#include "server/api/output_spec.h"

namespace hadal::anthropic {

using namespace api;

/// `tools` as the objects that templates know (OpenAI's), none if `tool_choice` is "none"; and in `form` what
/// calls must be like: `strict` of the tools, `tool_choice`. Tools that Anthropic's own servers define (their
/// `type` is another than "custom") are refused by name.
ApiResult<std::vector<jinja::Value>> ReadTools(const Fields& fields, OutputSpec& form);

}  // namespace hadal::anthropic
