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
ApiResult<Value> ReadTool(Json tool, std::string place, OutputSpec& form) {
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
  OutputSpec::Tool called{.name = name, .place = fields.Place("input_schema")};
  RETURN_IF_ERROR(fields.Take("strict", called.strict));
  const Json* schema = fields.Find("input_schema");
  if (!schema) return BadField(fields.Place("input_schema"), "'{}' is missing", fields.Place("input_schema"));
  RETURN_IF_ERROR(CheckToolSchema(fields, "input_schema"));
  called.parameters = *schema;
  form.tools.push_back(std::move(called));
  ASSIGN_OR_RETURN(Value parameters, ToTemplateValue(*schema));
  std::vector<std::pair<std::string_view, Value>> function{{"name", Value::String(std::move(name))}};
  if (!description.empty()) function.emplace_back("description", Value::String(std::move(description)));
  function.emplace_back("parameters", std::move(parameters));
  return Object({{"type", Value::String("function")}, {"function", Object(std::move(function))}});
}

struct ToolChoice {
  bool may_call = true, must_call = false, one_call = false;
  std::string name = {};  // of the one tool to be called
};

/// "auto", the default, "none", "any", or "tool" with its name.
ApiResult<ToolChoice> ReadToolChoice(const Fields& fields) {
  ToolChoice choice;
  const Json* found = fields.Find("tool_choice");
  if (!found) return choice;
  ASSIGN_OR_RETURN(const Fields given, Fields::Of(*found, "tool_choice"));
  std::string type;
  RETURN_IF_ERROR(given.Take("type", type));
  RETURN_IF_ERROR(given.Take("disable_parallel_tool_use", choice.one_call));
  choice.may_call = type != "none";
  choice.must_call = type == "any" || type == "tool";
  if (choice.may_call && !choice.must_call && type != "auto")
    return BadField("tool_choice", "'tool_choice.type' must be auto, any, tool or none and is '{}'",
                    type.substr(0, 64));
  if (type != "tool") return choice;
  RETURN_IF_ERROR(given.Take("name", choice.name));
  if (choice.name.empty()) return BadField("tool_choice.name", "'tool_choice.name' is missing");
  return choice;
}

/// Leaves in `form` the tools that may be called.
ApiStatus ApplyChoice(const ToolChoice& choice, OutputSpec& form) {
  if (!choice.may_call) form.tools.clear();
  if (!choice.name.empty()) {
    std::erase_if(form.tools, [&](const OutputSpec::Tool& tool) { return tool.name != choice.name; });
    if (form.tools.empty())
      return BadField("tool_choice.name", "'tool_choice.name' is '{}', which is not among the tools",
                      choice.name.substr(0, 64));
  }
  if (choice.must_call && form.tools.empty())
    return BadField("tool_choice", "'tool_choice' asks for a call, and there are no tools");
  form.must_call = choice.must_call;
  form.one_call = choice.one_call && !form.tools.empty();
  return {};
}

}  // namespace

ApiResult<std::vector<Value>> ReadTools(const Fields& fields, OutputSpec& form) {
  ASSIGN_OR_RETURN(const ToolChoice choice, ReadToolChoice(fields));
  std::vector<Value> tools;
  simdjson::dom::array items;
  const Json* found = fields.Find("tools");
  if (found && found->get(items))
    return BadField("tools", "'tools' must be an array and is {}", KindOf(*found));
  if (found) {
    for (const Json item : items) {
      if (tools.size() == kMaxTools) return BadField("tools", "'tools' has more than {} entries", kMaxTools);
      ASSIGN_OR_RETURN(Value tool, ReadTool(item, fmt::format("tools[{}]", tools.size()), form));
      tools.push_back(std::move(tool));
    }
  }
  RETURN_IF_ERROR(ApplyChoice(choice, form));
  if (!choice.may_call) tools.clear();
  return tools;
}

}  // namespace hadal::anthropic
