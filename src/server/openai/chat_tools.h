// The tools that a chat offers, read and checked.
#pragma once

#include <vector>

#include "server/api/json_fields.h"

namespace hadal::openai {

using namespace api;

/// `tools` as values for the template, none if `tool_choice` is "none". A choice that must be enforced
/// ("required", a named function) and "strict" schemas need structured output and are refused.
ApiResult<std::vector<jinja::Value>> ReadTools(const Fields& fields);

}  // namespace hadal::openai
