// The text of responses: status lines, headers, chunks, and the error object that every refusal carries.
#pragma once

#include <string>
#include <string_view>

#include "server/http_types.h"

namespace hadal {

/// "Not Found" for 404; "" for a code that has no name here.
std::string_view ReasonPhrase(int status);

/// What the server knows about the response, besides what the handler says.
struct ResponseFrame {
  bool http_1_0 = false;
  bool head_only = false;  // answers HEAD: no body bytes
  bool keep_alive = true;
  std::string request_id;
};

/// Status line and headers up to the empty line. `content_length` < 0: chunked (HTTP/1.0: until close).
std::string FormatHead(const ResponseFrame& frame, int status, const HttpHeaders& headers,
                       int64_t content_length);

/// True if every name is a token and no value holds a control character (which could smuggle a header in).
bool ValidHeaders(const HttpHeaders& headers);

/// The error object of OpenAI's API: {"error":{"message":..,"type":..,"param":null,"code":..}}; `code` may be
/// empty.
std::string ErrorBody(int status, std::string_view message, std::string_view code = "");

/// The client's X-Request-Id if it is 1 to 128 of [A-Za-z0-9._-], else 32 random hex digits.
std::string ChooseRequestId(const HttpRequest& request);

}  // namespace hadal
