#include "server/openai/api_error.h"

#include "server/http_status.h"
#include "server/openai/json_writer.h"

namespace hadal::openai {

ApiError::ApiError(Error error) : status(HttpStatus(error.code)), message(std::move(error.message)) {}

ApiError ClientsFault(Error error) {
  if (error.code != Code::kInternal) error.code = Code::kInvalidArgument;
  return ApiError(std::move(error));
}

std::string ErrorJson(const ApiError& error) {
  JsonWriter json;
  json.BeginObject().Key("error").BeginObject();
  json.Key("message").String(error.message).Key("type").String(OpenAiErrorType(error.status));
  json.Key("param").StringOrNull(error.param).Key("code").StringOrNull(error.code);
  json.EndObject().EndObject();
  return json.Take();
}

void SendError(ResponseWriter& writer, const ApiError& error) {
  HttpHeaders headers{{"Content-Type", "application/json"}};
  if (error.status == 429 || error.status == 503) headers.emplace_back("Retry-After", "1");
  writer.Send(error.status, std::move(headers), ErrorJson(error));
}

void SendJson(ResponseWriter& writer, std::string body) {
  writer.Send(200, {{"Content-Type", "application/json"}}, std::move(body));
}

}  // namespace hadal::openai
