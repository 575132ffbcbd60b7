#include "server/anthropic/tools.h"

#include "server/api/tools.h"

namespace hadal::anthropic {
namespace {

using jinja::Value;

Value Object(std::vector<std::pair<std::string_view, Value>> members) {
  jinja::Dict dict;
  for (auto& [name, value] : members) dict.Set(Value::String(std::string(name)), std::move(value));
  return Value::Of(std::make_shared<const jinja::Dict>(std::move(dict)));
}

/// {"type": "function", "function": {"name", "description", "parameters"}}
ApiResult<Value> ReadTool(Json tool, std::string place) {
  ASSIGN_OR_RETURN(const Fields fields, Fields::Of(tool, std::move(place)));
  std::string type = "custom", name, description;
  RETURN_IF_ERROR(fields.Take("type", type));
  if (type != "custom")
    return BadField(fields.Place("type"),
                    "'{}' is '{}'; this server runs no tools, only 'custom' is supported",
                    fields.Place("type"), type.substr(0, 64));
  RETURN_IF_ERROR(CheckToolName(fields));
  RETURN_IF_ERROR(fields.Take("name", name));
  RETURN_IF_ERROR(fields.Take("description", description));
  bool strict = false;
  RETURN_IF_ERROR(fields.Take("strict", strict));
  if (strict)
    return BadField(fields.Place("strict"),
                    "'{}' asks for structured output, which /v1/messages does not have",
                    fields.Place("strict"));
  const Json* schema = fields.Find("input_schema");
  if (!schema) return BadField(fields.Place("input_schema"), "'{}' is missing", fields.Place("input_schema"));
  RETURN_IF_ERROR(CheckToolSchema(fields, "input_schema"));
  ASSIGN_OR_RETURN(Value parameters, ToTemplateValue(*schema));
  std::vector<std::pair<std::string_view, Value>> function{{"name", Value::String(std::move(name))}};
  if (!description.empty()) function.emplace_back("description", Value::String(std::move(description)));
  function.emplace_back("parameters", std::move(parameters));
  return Object({{"type", Value::String("function")}, {"function", Object(std::move(function))}});
}

/// Whether tools may be called: "auto", the default, or "none".
ApiResult<bool> ReadToolChoice(const Fields& fields) {
  const Json* found = fields.Find("tool_choice");
  if (!found) return true;
  ASSIGN_OR_RETURN(const Fields choice, Fields::Of(*found, "tool_choice"));
  std::string type;
  bool one_at_most = false;
  RETURN_IF_ERROR(choice.Take("type", type));
  RETURN_IF_ERROR(choice.Take("disable_parallel_tool_use", one_at_most));
  if (one_at_most) return BadField("tool_choice", "'tool_choice.disable_parallel_tool_use' is not supported");
  if (type == "auto") return true;
  if (type == "none") return false;
  if (type == "any" || type == "tool")
    return BadField("tool_choice",
                    "a 'tool_choice' that forces a call ('{}') is not supported; 'auto' and 'none' are",
                    type);
  return BadField("tool_choice", "'tool_choice.type' must be 'auto' or 'none' and is '{}'",
                  type.substr(0, 64));
}

}  // namespace

ApiResult<std::vector<Value>> ReadTools(const Fields& fields) {
  ASSIGN_OR_RETURN(const bool may_call, ReadToolChoice(fields));
  std::vector<Value> tools;
  const Json* found = fields.Find("tools");
  if (!found) return tools;
  simdjson::dom::array items;
  if (found->get(items)) return BadField("tools", "'tools' must be an array and is {}", KindOf(*found));
  for (const Json item : items) {
    if (tools.size() == kMaxTools) return BadField("tools", "'tools' has more than {} entries", kMaxTools);
    ASSIGN_OR_RETURN(Value tool, ReadTool(item, fmt::format("tools[{}]", tools.size())));
    tools.push_back(std::move(tool));
  }
  if (!may_call) tools.clear();
  return tools;
}

}  // namespace hadal::anthropic
