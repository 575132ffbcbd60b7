#include "server/openai/chat_tools.h"

#include "server/api/tools.h"

namespace hadal::openai {
namespace {

ApiStatus CheckFunction(const Fields& function) {
  std::string description;
  RETURN_IF_ERROR(CheckToolName(function));
  RETURN_IF_ERROR(function.Take("description", description));
  bool strict = false;
  RETURN_IF_ERROR(function.Take("strict", strict));
  if (strict)
    return BadField(function.Place("strict"),
                    "'{}' asks for structured output, which this server does not have",
                    function.Place("strict"));
  return CheckToolSchema(function, "parameters");
}

ApiStatus CheckTool(Json tool, std::string place) {
  ASSIGN_OR_RETURN(const Fields fields, Fields::Of(tool, std::move(place)));
  std::string type;
  RETURN_IF_ERROR(fields.Take("type", type));
  const Json* function = fields.Find("function");
  if (type != "function" || !function)
    return BadField(fields.Place("type"), "'{}' must be 'function', with the function beside it",
                    fields.Place("type"));
  ASSIGN_OR_RETURN(const Fields described, Fields::Of(*function, fields.Place("function")));
  return CheckFunction(described);
}

/// Whether tools may be called: "auto", the default, or "none".
ApiResult<bool> ReadToolChoice(const Fields& fields) {
  const Json* found = fields.Find("tool_choice");
  if (!found) return true;
  std::string_view choice;
  const bool is_text = !found->get(choice);
  if (is_text && choice == "auto") return true;
  if (is_text && choice == "none") return false;
  if ((is_text && choice == "required") || found->is_object())
    return BadField("tool_choice",
                    "a 'tool_choice' that forces a call asks for structured output, which this server "
                    "does not have; 'auto' and 'none' are supported");
  return BadField("tool_choice", "'tool_choice' must be 'auto' or 'none'");
}

}  // namespace

ApiResult<std::vector<jinja::Value>> ReadTools(const Fields& fields) {
  ASSIGN_OR_RETURN(const bool may_call, ReadToolChoice(fields));
  std::vector<jinja::Value> tools;
  const Json* found = fields.Find("tools");
  if (!found) return tools;
  simdjson::dom::array items;
  if (found->get(items)) return BadField("tools", "'tools' must be an array and is {}", KindOf(*found));
  for (const Json item : items) {
    if (tools.size() == kMaxTools) return BadField("tools", "'tools' has more than {} entries", kMaxTools);
    RETURN_IF_ERROR(CheckTool(item, fmt::format("tools[{}]", tools.size())));
    ASSIGN_OR_RETURN(jinja::Value tool, ToTemplateValue(item));
    tools.push_back(std::move(tool));
  }
  if (!may_call) tools.clear();
  return tools;
}

}  // namespace hadal::openai
