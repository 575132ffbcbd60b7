#include "text/tool_prompt.h"

#include <ctime>

#include "text/jinja/text_form.h"

namespace hadal {
namespace {

constexpr std::string_view kV31Format =
    "IMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<"
    "｜tool▁call▁end｜>"
    "{additional_tool_calls}<｜tool▁calls▁end｜>\n\n"
    "Where:\n"
    "- `tool_call_name` must be an exact match to one of the available tools\n"
    "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
    "- For multiple tool calls, chain them directly without separators or spaces\n";

constexpr std::string_view kV3Format =
    "To call tools, write nothing after this, with the arguments as a JSON object and one block for each "
    "call:\n"
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>TOOL_NAME\n"
    "```json\n{\"ARGUMENT\": \"VALUE\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>\n";

bool IsIdentifierByte(unsigned char c) { return std::isalnum(c) || c == '_' || c >= 0x80; }

/// A string member of a tool's function; empty if it has none.
std::string TextOf(const jinja::Dict& function, std::string_view name) {
  const jinja::Value* found = function.Find(name);
  return found && found->is_string() ? found->as_string() : std::string();
}

Result<std::string> DescribeTool(const jinja::Value& tool,
                                 const std::function<std::string(std::string)>& quote) {
  const jinja::Dict& function = tool.as_dict().Find("function")->as_dict();
  const jinja::Value* parameters = function.Find("parameters");
  std::string schema = "{}";
  if (parameters && !parameters->is_none()) {
    jinja::Runtime runtime({}, [] { return std::time_t{0}; });
    ASSIGN_OR_RETURN(schema, jinja::ToJson(runtime, *parameters, {}));
  }
  return fmt::format("### {}\nDescription: {}\n\nParameters: {}\n\n", quote(TextOf(function, "name")),
                     quote(TextOf(function, "description")), quote(std::move(schema)));
}

}  // namespace

bool TemplateKnows(std::string_view source, std::string_view variable) {
  for (size_t at = source.find(variable); at != source.npos; at = source.find(variable, at + 1)) {
    const size_t end = at + variable.size();
    const bool begins = at == 0 || !IsIdentifierByte(source[at - 1]);
    if (begins && (end == source.size() || !IsIdentifierByte(source[end]))) return true;
  }
  return false;
}

Result<std::string> DescribeTools(const std::vector<jinja::Value>& tools, ToolCallFormat format,
                                  const std::function<std::string(std::string)>& quote) {
  if (format == ToolCallFormat::kNone)
    return Unsupported("this model's chat template has no form for tool calls");
  std::string text = "## Tools\nYou have access to the following tools:\n\n";
  for (const jinja::Value& tool : tools) {
    ASSIGN_OR_RETURN(const std::string one, DescribeTool(tool, quote));
    text += one;
  }
  text += format == ToolCallFormat::kDeepSeekV31 ? kV31Format : kV3Format;
  return text;
}

}  // namespace hadal
