#include "server/api/tools.h"

#include <algorithm>

#include "text/regex.h"

namespace hadal::api {
namespace {

constexpr size_t kMaxNameBytes = 64;

bool IsFunctionName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; });
}

/// Compiles every `pattern` in the schema. Nesting is bounded by kMaxJsonDepth.
ApiStatus CheckPatterns(Json schema, const std::string& place) {
  if (schema.is_array()) {
    for (const Json item : schema.get_array().value_unsafe()) RETURN_IF_ERROR(CheckPatterns(item, place));
    return {};
  }
  if (!schema.is_object()) return {};
  for (const auto member : schema.get_object().value_unsafe()) {
    RETURN_IF_ERROR(CheckPatterns(member.value, place));
    std::string_view pattern;
    if (member.key != "pattern" || member.value.get(pattern)) continue;
    const auto compiled = Regex::Compile(pattern);
    if (!compiled && compiled.error().code == Code::kInvalidArgument)
      return BadField(place, "'{}' has a pattern that is no regular expression: {}", place,
                      compiled.error().message);
  }
  return {};
}

}  // namespace

ApiStatus CheckToolName(const Fields& tool) {
  std::string name;
  RETURN_IF_ERROR(tool.Take("name", name));
  if (!IsFunctionName(name))
    return BadField(tool.Place("name"), "'{}' must be 1 to {} letters, digits, '_' or '-' and is '{}'",
                    tool.Place("name"), kMaxNameBytes, name.substr(0, kMaxNameBytes));
  return {};
}

ApiStatus CheckToolSchema(const Fields& tool, std::string_view key) {
  const Json* schema = tool.Find(key);
  if (!schema) return {};
  RETURN_IF_ERROR(Fields::Of(*schema, tool.Place(key)));
  return CheckPatterns(*schema, tool.Place(key));
}

}  // namespace hadal::api
