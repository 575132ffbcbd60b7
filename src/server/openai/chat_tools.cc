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

struct ToolChoice {
  bool may_call = true, must_call = false;
  std::string name = {};  // of the one function to be called
};

/// "auto", the default, "none", "required", or a function's name.
ApiResult<ToolChoice> ReadToolChoice(const Fields& fields) {
  const Json* found = fields.Find("tool_choice");
  if (!found) return ToolChoice{};
  std::string_view choice;
  if (!found->get(choice)) {
    if (choice == "auto") return ToolChoice{};
    if (choice == "none") return ToolChoice{.may_call = false};
    if (choice == "required") return ToolChoice{.must_call = true};
  } else if (found->is_object()) {
    ASSIGN_OR_RETURN(const Fields named, Fields::Of(*found, "tool_choice"));
    std::string type;
    RETURN_IF_ERROR(named.Take("type", type));
    const Json* function = named.Find("function");
    if (type == "function" && function) {
      ASSIGN_OR_RETURN(const Fields called, Fields::Of(*function, "tool_choice.function"));
      ToolChoice made{.must_call = true};
      RETURN_IF_ERROR(called.Take("name", made.name));
      if (made.name.empty()) return BadField("tool_choice.function.name", "'tool_choice.function.name' is missing");
      return made;
    }
  }
  return BadField("tool_choice",
                  "'tool_choice' must be 'auto', 'none', 'required' or a function: "
                  "{{\"type\": \"function\", \"function\": {{\"name\": ...}}}}");
}

}  // namespace

ApiResult<std::vector<jinja::Value>> ReadTools(const Fields& fields) {
  ASSIGN_OR_RETURN(const ToolChoice choice, ReadToolChoice(fields));
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
  if (!choice.may_call) tools.clear();
  return tools;
}

ApiStatus ReadToolForm(const Fields& fields, OutputSpec& spec) {
  ASSIGN_OR_RETURN(const ToolChoice choice, ReadToolChoice(fields));
  bool parallel = true;
  RETURN_IF_ERROR(fields.Take("parallel_tool_calls", parallel));
  const Json* found = fields.Find("tools");
  simdjson::dom::array items;
  if (found && choice.may_call && !found->get(items)) {
    for (const Json item : items) {
      const std::string place = fmt::format("tools[{}].function", spec.tools.size());
      ASSIGN_OR_RETURN(const Fields tool, Fields::Of(item));
      ASSIGN_OR_RETURN(const Fields function, Fields::Of(*tool.Find("function"), place));
      OutputSpec::Tool made{.name = {}, .place = function.Place("parameters")};
      RETURN_IF_ERROR(function.Take("name", made.name));
      RETURN_IF_ERROR(function.Take("strict", made.strict));
      if (const Json* parameters = function.Find("parameters")) made.parameters = *parameters;
      spec.tools.push_back(std::move(made));
    }
  }
  if (!choice.name.empty()) {
    std::erase_if(spec.tools, [&](const OutputSpec::Tool& tool) { return tool.name != choice.name; });
    if (spec.tools.empty())
      return BadField("tool_choice", "'tool_choice' names '{}', which is not among the tools",
                      choice.name.substr(0, 64));
  }
  if (choice.must_call && spec.tools.empty())
    return BadField("tool_choice", "'tool_choice' asks for a call, and there are no tools");
  spec.must_call = choice.must_call;
  spec.one_call = !spec.tools.empty() && (!parallel || !choice.name.empty());
  return {};
}

}  // namespace hadal::openai
