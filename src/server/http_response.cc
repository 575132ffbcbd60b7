#include "server/http_response.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <random>

namespace hadal {
namespace {

/// RFC 9110 section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string HttpDate(std::time_t now) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm tm{};
  gmtime_r(&now, &tm);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[tm.tm_wday], tm.tm_mday,
                     kMonths[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

bool IdCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

const char* ErrorType(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 499: return "Client Closed Request";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "";
  }
}

std::string FormatHead(const ResponseFrame& frame, int status, const HttpHeaders& headers,
                       int64_t content_length) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\ndate: {}\r\n", status, ReasonPhrase(status),
                                 HttpDate(std::time(nullptr)));
  for (const auto& [name, value] : headers) head.append(name).append(": ").append(value).append("\r\n");
  if (!frame.request_id.empty()) head.append("x-request-id: ").append(frame.request_id).append("\r\n");
  const bool bodyless = status == 204 || status == 304 || status < 200;
  if (content_length >= 0) {
    if (!bodyless) head += fmt::format("content-length: {}\r\n", content_length);
  } else if (!frame.http_1_0) {
    head += "transfer-encoding: chunked\r\n";
  }
  if (!frame.keep_alive) {
    head += "connection: close\r\n";
  } else if (frame.http_1_0) {
    head += "connection: keep-alive\r\n";
  }
  head += "\r\n";
  return head;
}

bool ValidHeaders(const HttpHeaders& headers) {
  for (const auto& [name, value] : headers) {
    const bool token = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return IdCharacter(c) ||
             (c > 0x20 && c < 0x7f && std::string_view("!#$%&'*+^`|~").find(c) != std::string_view::npos);
    });
    const bool clean = std::none_of(value.begin(), value.end(),
                                    [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    if (!token || !clean) return false;
  }
  return true;
}

std::string ErrorBody(int status, std::string_view message, std::string_view code) {
  nlohmann::ordered_json error = {
      {"message", std::string(message)}, {"type", ErrorType(status)}, {"param", nullptr}};
  error["code"] = code.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(std::string(code));
  nlohmann::ordered_json body;
  body["error"] = std::move(error);
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string ChooseRequestId(const HttpRequest& request) {
  const std::string* given = request.Header("x-request-id");
  if (given && !given->empty() && given->size() <= 128 &&
      std::all_of(given->begin(), given->end(), IdCharacter)) {
    return *given;
  }
  unsigned char random[16];
  if (RAND_bytes(random, sizeof random) != 1) {
    // An id has to be unlikely, not secret.
    std::random_device device;
    for (auto& byte : random) byte = static_cast<unsigned char>(device());
  }
  std::string id;
  for (const unsigned char byte : random) id += fmt::format("{:02x}", byte);
  return id;
}

}  // namespace hadal
