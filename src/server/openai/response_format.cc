#include "server/openai/response_format.h"

namespace hadal::openai {
namespace {

// vLLM's and SGLang's names.
constexpr std::string_view kOthers[] = {
    "guided_json",        "guided_regex", "guided_choice", "guided_grammar",
    "structured_outputs", "json_schema",  "regex",         "ebnf"};

ApiStatus ReadJsonSchema(const Fields& format, OutputSpec& spec) {
  const Json* found = format.Find("json_schema");
  if (!found) return BadField(format.Place("json_schema"), "'{}' is missing", format.Place("json_schema"));
  ASSIGN_OR_RETURN(const Fields named, Fields::Of(*found, format.Place("json_schema")));
  // The name and the description say nothing of the form; a schema is kept to whether it is strict or not.
  std::string text;
  bool strict = false;
  RETURN_IF_ERROR(named.Take("name", text));
  RETURN_IF_ERROR(named.Take("description", text));
  RETURN_IF_ERROR(named.Take("strict", strict));
  const Json* schema = named.Find("schema");
  spec.place = named.Place("schema");
  if (!schema) return BadField(spec.place, "'{}' is missing", spec.place);
  spec.content = OutputSpec::kJsonSchema;
  spec.schema = *schema;
  return {};
}

}  // namespace

ApiStatus ReadResponseFormat(const Fields& fields, OutputSpec& spec) {
  for (const std::string_view name : kOthers) {
    if (fields.Find(name))
      return BadField(std::string(name), "'{}' is not supported; use 'response_format' or 'grammar'", name);
  }
  if (fields.Find("grammar")) {
    spec.content = OutputSpec::kGbnf;
    spec.place = "grammar";
    RETURN_IF_ERROR(fields.Take("grammar", spec.gbnf));
  }
  const Json* found = fields.Find("response_format");
  if (!found) return {};
  ASSIGN_OR_RETURN(const Fields format, Fields::Of(*found, "response_format"));
  std::string type;
  RETURN_IF_ERROR(format.Take("type", type));
  if (type == "text") return {};
  if (type != "json_object" && type != "json_schema")
    return BadField("response_format.type",
                    "'response_format.type' is '{}', expected 'text', 'json_object' or 'json_schema'",
                    type.substr(0, 64));
  if (spec.content == OutputSpec::kGbnf)
    return BadField("grammar", "'grammar' and 'response_format' both say what the answer is; give one");
  spec.place = "response_format";
  if (type == "json_schema") return ReadJsonSchema(format, spec);
  spec.content = OutputSpec::kJsonObject;
  return {};
}

}  // namespace hadal::openai
