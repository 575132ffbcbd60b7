// Tools for models whose chat template does not mention them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/jinja/value.h"
#include "text/output_parser.h"

namespace hadal {

/// Whether the template has a variable of that name.
bool TemplateKnows(std::string_view source, std::string_view variable);

/// What the system message says of `tools`. V3.1's words are those of its model card
/// (huggingface.co/deepseek-ai/DeepSeek-V3.1, "ToolCall"), on which it was trained; V3's form of a call is
/// that of its template. Every text of a tool passes through `quote`. kInvalidArgument: a tool cannot be
/// written as JSON; kUnsupported: format kNone.
Result<std::string> DescribeTools(const std::vector<jinja::Value>& tools, ToolCallFormat format,
                                  const std::function<std::string(std::string)>& quote);

}  // namespace hadal
