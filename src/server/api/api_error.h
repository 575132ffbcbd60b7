// What goes wrong with a call of the API, whichever API its client speaks.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "base/status.h"
#include "server/http_types.h"

namespace hadal::api {

struct ApiError {
  int status = 400;
  std::string message;  // one sentence
  std::string param;    // the field it is about; empty: none
  std::string code;     // for programs, "model_not_found"; empty: none

  ApiError(int status, std::string message, std::string param = {}, std::string code = {})
      : status(status), message(std::move(message)), param(std::move(param)), code(std::move(code)) {}
  /// With the status of its code.
  ApiError(Error error);  // NOLINT: so that RETURN_IF_ERROR converts
};

template <typename T>
using ApiResult = tl::expected<T, ApiError>;
using ApiStatus = ApiResult<void>;

/// A 400 about the field `param`.
template <typename... Args>
tl::unexpected<ApiError> BadField(std::string param, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected(ApiError(400, fmt::format(format, std::forward<Args>(args)...), std::move(param)));
}

/// `error` with every code that blames the server turned into a 400: for work whose input is the client's
/// alone.
ApiError ClientsFault(Error error);

/// Where a whole response finds no room: 503.
ApiError TooManyResponses();

/// An error as one API tells it.
struct ErrorReply {
  int status = 500;
  std::string body;  // JSON
};
using ErrorFormat = ErrorReply (*)(const ApiError& error);

/// Answers with the error; refusals that pass ask to try again after a second.
void SendError(ResponseWriter& writer, const ApiError& error, ErrorFormat format);
void SendJson(ResponseWriter& writer, std::string body);

}  // namespace hadal::api
