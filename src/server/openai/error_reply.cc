#include "server/openai/error_reply.h"

#include "server/api/json_writer.h"
#include "server/http_status.h"

namespace hadal::openai {

api::ErrorReply OpenAiError(const api::ApiError& error) {
  api::JsonWriter json;
  json.BeginObject().Key("error").BeginObject();
  json.Key("message").String(error.message).Key("type").String(OpenAiErrorType(error.status));
  json.Key("param").StringOrNull(error.param).Key("code").StringOrNull(error.code);
  json.EndObject().EndObject();
  return {error.status, json.Take()};
}

}  // namespace hadal::openai
