#include "server/openai/tokenize.h"

#include "server/api/json_writer.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"

namespace hadal::openai {
namespace {

/// The model need not be named here, but must not be another.
ApiStatus CheckModelIfGiven(const Fields& fields, const ApiContext& api) {
  return fields.Find("model") ? CheckModel(fields, api) : ApiStatus();
}

ApiResult<std::vector<int32_t>> EncodeEither(const Fields& fields, const ApiContext& api) {
  if (fields.Find("messages")) {
    ASSIGN_OR_RETURN(const Chat chat, ReadChat(fields, api));
    auto prompt = EncodeChat(api, chat);
    if (!prompt) return tl::unexpected(ClientsFault(std::move(prompt).error()));
    return std::move(prompt->ids);
  }
  if (!fields.Find("prompt")) return BadField("prompt", "'prompt' or 'messages' is missing");
  std::string text;
  bool add_bos = true;
  RETURN_IF_ERROR(fields.Take("prompt", text));
  RETURN_IF_ERROR(fields.Take("add_special_tokens", add_bos));
  return EncodeTextPrompt(api, text, add_bos);
}

}  // namespace

ApiResult<std::string> Tokenize(const ApiContext& api, const Fields& fields) {
  RETURN_IF_ERROR(CheckModelIfGiven(fields, api));
  bool strings = false;
  RETURN_IF_ERROR(fields.Take("return_token_strs", strings));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, EncodeEither(fields, api));

  JsonWriter json;
  json.BeginObject().Key("count").Int(static_cast<int64_t>(ids.size()));
  json.Key("max_model_len").Int(api.context).Key("tokens").BeginArray();
  for (const int32_t id : ids) json.Int(id);
  json.EndArray();
  if (strings) {
    json.Key("token_strs").BeginArray();
    for (const int32_t id : ids) json.String(api.tokenizer.TokenBytes(id).value_or(std::string_view()));
    json.EndArray();
  }
  json.EndObject();
  return json.Take();
}

ApiResult<std::string> Detokenize(const ApiContext& api, const Fields& fields) {
  RETURN_IF_ERROR(CheckModelIfGiven(fields, api));
  const Json* found = fields.Find("tokens");
  simdjson::dom::array items;
  if (!found) return BadField("tokens", "'tokens' is missing or null");
  if (found->get(items))
    return BadField("tokens", "'tokens' must be an array of ids and is {}", KindOf(*found));
  std::vector<int32_t> ids;
  for (const Json item : items) RETURN_IF_ERROR(CheckTokenId(api, item, "tokens", ids.emplace_back()));
  ASSIGN_OR_RETURN(const std::string decoded, api.tokenizer.Decode(ids));
  JsonWriter json;
  json.BeginObject().Key("prompt").String(decoded).EndObject();
  return json.Take();
}

}  // namespace hadal::openai
