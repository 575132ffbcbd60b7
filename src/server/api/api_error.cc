#include "server/api/api_error.h"

#include "server/http_status.h"

namespace hadal::api {

ApiError::ApiError(Error error) : status(HttpStatus(error.code)), message(std::move(error.message)) {}

ApiError ClientsFault(Error error) {
  if (error.code != Code::kInternal) error.code = Code::kInvalidArgument;
  return ApiError(std::move(error));
}

ApiError TooManyResponses() {
  return ApiError(503,
                  "the server holds too many long responses; try again shortly, ask for less, or set 'stream': true");
}

void SendError(ResponseWriter& writer, const ApiError& error, ErrorFormat format) {
  HttpHeaders headers{{"Content-Type", "application/json"}};
  if (error.status == 429 || error.status == 503) headers.emplace_back("Retry-After", "1");
  ErrorReply reply = format(error);
  writer.Send(reply.status, std::move(headers), std::move(reply.body));
}

void SendJson(ResponseWriter& writer, std::string body) {
  writer.Send(200, {{"Content-Type", "application/json"}}, std::move(body));
}

}  // namespace hadal::api
