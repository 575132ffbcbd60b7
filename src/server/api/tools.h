// What every API checks of the tools that it offers to the model.
#pragma once

#include <string>

#include "server/api/json_fields.h"

namespace hadal::api {

// OpenAI's own limit.
inline constexpr size_t kMaxTools = 128;

/// The member `name` of a tool: 1 to 64 letters, digits, '_' or '-'.
ApiStatus CheckToolName(const Fields& tool);

/// The member `key` of a tool: absent, or a JSON schema. Patterns in it are compiled, so that one that cannot
/// be is refused here, and never run.
ApiStatus CheckToolSchema(const Fields& tool, std::string_view key);

}  // namespace hadal::api
