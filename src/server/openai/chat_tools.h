// The tools that a chat offers, read and checked.
#pragma once

#include <vector>

#include "server/api/json_fields.h"
#include "server/api/output_spec.h"

namespace hadal::openai {

using namespace api;

/// `tools` as values for the template, none if `tool_choice` is "none".
ApiResult<std::vector<jinja::Value>> ReadTools(const Fields& fields);

/// What the calls must be like: `strict` of the tools, `tool_choice`, `parallel_tool_calls`. After ReadTools.
/// 400: a call that is to be made with no tool, or with one that is not offered.
ApiStatus ReadToolForm(const Fields& fields, OutputSpec& spec);

}  // namespace hadal::openai
