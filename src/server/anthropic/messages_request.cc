#include "server/anthropic/messages_request.h"

#include <random>

#include "engine/stop_strings.h"
#include "server/anthropic/content.h"
#include "server/anthropic/tools.h"

namespace hadal::anthropic {
namespace {

/// Fields that would change the answer, so that ignoring them would be a lie.
ApiStatus RefuseUnsupported(const Fields& fields) {
  for (const std::string_view name : {"container", "mcp_servers"}) {
    if (fields.Find(name))
      return BadField(std::string(name), "'{}' asks for tools that run on the server, which has none", name);
  }
  if (fields.Find("output_format"))
    return BadField("output_format", "'output_format' is not supported; use 'output_config.format'");
  return {};
}

/// `output_config.format`: the text's JSON schema.
ApiStatus ReadFormat(const Fields& fields, OutputSpec& form) {
  const Json* found = fields.Find("output_config");
  if (!found) return {};
  ASSIGN_OR_RETURN(const Fields config, Fields::Of(*found, "output_config"));
  const Json* format = config.Find("format");
  if (!format) return {};
  ASSIGN_OR_RETURN(const Fields given, Fields::Of(*format, "output_config.format"));
  std::string type;
  RETURN_IF_ERROR(given.Take("type", type));
  const Json* schema = given.Find("schema");
  if (type != "json_schema")
    return BadField(given.Place("type"), "'{}' must be 'json_schema' and is '{}'", given.Place("type"),
                    type.substr(0, 64));
  if (!schema) return BadField(given.Place("schema"), "'{}' is missing", given.Place("schema"));
  form.content = OutputSpec::kJsonSchema;
  form.place = given.Place("schema");
  form.schema = *schema;
  return {};
}

ApiStatus ReadStopSequences(const Fields& fields, std::vector<std::string>& stops) {
  const Json* found = fields.Find("stop_sequences");
  if (!found) return {};
  simdjson::dom::array items;
  if (found->get(items))
    return BadField("stop_sequences", "'stop_sequences' must be an array of strings and is {}",
                    KindOf(*found));
  for (const Json item : items) {
    std::string_view text;
    if (item.get(text))
      return BadField("stop_sequences", "'stop_sequences' must hold strings; one is {}", KindOf(item));
    stops.emplace_back(text);
    if (stops.size() > static_cast<size_t>(kMaxStopStrings)) break;  // refused by what follows
  }
  if (Status valid = ValidateStopStrings(stops); !valid)
    return BadField("stop_sequences", "{}", valid.error().message);
  return {};
}

ApiStatus ReadSampling(const Fields& fields, const ApiContext& api, SamplingParams& params) {
  RETURN_IF_ERROR(fields.Take("temperature", params.temperature));
  RETURN_IF_ERROR(fields.Take("top_p", params.top_p));
  RETURN_IF_ERROR(fields.Take("top_k", params.top_k));
  RETURN_IF_ERROR(ReadStopSequences(fields, params.stop));
  if (fields.Find("seed")) {
    int64_t seed = 0;
    RETURN_IF_ERROR(fields.Take("seed", seed));
    params.seed = static_cast<uint64_t>(seed);
  } else {
    std::random_device device;
    params.seed = (uint64_t{device()} << 32) | device();
  }
  if (!fields.Find("max_tokens")) return BadField("max_tokens", "'max_tokens' is missing");
  RETURN_IF_ERROR(fields.Take("max_tokens", params.max_tokens, 1, kMaxMaxTokens));
  if (Status valid = Validate(params, api.tokenizer.vocab_size()); !valid) {
    const std::string& message = valid.error().message;
    return BadField(message.substr(0, message.find(' ')), "{}", message);  // begins with the field's name
  }
  return {};
}

/// Whether the model thinks is its template's variable `thinking`; without one it is as it was trained.
ApiStatus ReadThinking(const Fields& fields, const ApiContext& api, Chat& chat) {
  const Json* found = fields.Find("thinking");
  if (!found) return {};
  ASSIGN_OR_RETURN(const Fields thinking, Fields::Of(*found, "thinking"));
  std::string type;
  RETURN_IF_ERROR(thinking.Take("type", type));
  if (type != "enabled" && type != "disabled")
    return BadField("thinking.type", "'thinking.type' must be 'enabled' or 'disabled' and is '{}'",
                    type.substr(0, 64));
  int64_t budget = 0;  // max_tokens bounds what is thought
  RETURN_IF_ERROR(thinking.Take("budget_tokens", budget, 1, kMaxMaxTokens));
  const bool enable = type == "enabled";
  if (TemplateKnows(api.chat_template->source(), "thinking")) {
    chat.variables.emplace_back("thinking", jinja::Value::Bool(enable));
  } else if (enable != api.format.reasoning) {
    return BadField("thinking", "'thinking' cannot be {}: this model {}", type,
                    enable ? "does not think" : "always thinks");
  }
  return {};
}

}  // namespace

ApiResult<Chat> ReadMessagesChat(const Fields& fields, const ApiContext& api, OutputSpec& form) {
  RETURN_IF_ERROR(CheckModel(fields, api));
  RETURN_IF_ERROR(RefuseUnsupported(fields));
  if (!api.chat_template)
    return BadField("messages",
                    "the model has no chat template; use /v1/completions, whose prompt is the text");
  Chat chat;
  RETURN_IF_ERROR(ReadSystem(fields, chat.messages));
  RETURN_IF_ERROR(ReadMessages(fields, chat.messages));
  ASSIGN_OR_RETURN(chat.tools, ReadTools(fields, form));
  RETURN_IF_ERROR(ReadThinking(fields, api, chat));
  RETURN_IF_ERROR(ReadFormat(fields, form));
  return chat;
}

ApiResult<MessagesRequest> ReadMessagesRequest(const Fields& fields, const ApiContext& api) {
  MessagesRequest request;
  ASSIGN_OR_RETURN(request.chat, ReadMessagesChat(fields, api, request.options.output));
  request.options.sampling = api.defaults;
  RETURN_IF_ERROR(ReadSampling(fields, api, request.options.sampling));
  RETURN_IF_ERROR(fields.Take("stream", request.options.stream));
  return request;
}

}  // namespace hadal::anthropic
