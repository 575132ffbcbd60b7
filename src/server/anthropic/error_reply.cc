#include "server/anthropic/error_reply.h"

#include "server/api/json_writer.h"

namespace hadal::anthropic {
namespace {

constexpr int kOverloaded = 529;

/// docs.anthropic.com, "Errors".
std::string_view ErrorType(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
    case kOverloaded:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

std::string AnthropicRefusal(int status, std::string_view message, std::string_view) {
  api::JsonWriter json;
  json.BeginObject().Key("type").String("error").Key("error").BeginObject();
  json.Key("type").String(ErrorType(status)).Key("message").String(message);
  json.EndObject().EndObject();
  return json.Take();
}

api::ErrorReply AnthropicError(const api::ApiError& error) {
  const int status = error.status == 503 ? kOverloaded : error.status;
  return {status, AnthropicRefusal(status, error.message, error.code)};
}

}  // namespace hadal::anthropic
