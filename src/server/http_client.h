// One HTTPS request as a client, over libcurl: key sets of outside issuers, and the chat with a server far
// away.
//
// Certificates are always verified (TLS 1.2 or later), redirects are never followed, nothing is decompressed,
// and what a peer sends is bounded in size and time. Plain HTTP is for loopback addresses, and only where the
// caller allows it.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"
#include "server/http_types.h"

namespace hadal {

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;  // names in lower case, in order of arrival
  std::string body;     // empty where on_body took it

  /// The first header called `lower_name`, or null.
  const std::string* Header(std::string_view lower_name) const;
};

struct HttpClientRequest {
  std::string method = "GET";
  std::string url;      // https://host[:port]/path?query, without user and password
  HttpHeaders headers;  // may hold secrets: never shown, and our copies are wiped
  std::string body;     // sent with POST, PUT, PATCH and DELETE

  Path ca_file = {};  // PEM: who the server's certificate must come from; empty: the system's store
  Path client_certificate_file = {},
       client_key_file = {};         // PEM, for servers that ask for one; both or neither
  bool allow_loopback_http = false;  // http:// to 127.0.0.0/8 and ::1
  bool environment_proxy = false;    // use https_proxy and its like

  std::chrono::milliseconds connect_timeout{10'000};  // for name, connection and handshake
  std::chrono::milliseconds total_timeout{30'000};    // 0: none, for streams
  std::chrono::seconds stall_timeout{0};              // without one byte arriving, once connected; 0: none
  size_t max_response_bytes = 1 << 20;                // of the body; more is kResourceExhausted

  /// Called once, when the final response's head is there (its body is empty then). False ends the request.
  std::function<bool(const HttpResponse&)> on_headers = {};
  /// Takes the body piece by piece as it arrives, instead of HttpResponse::body. False ends the request.
  std::function<bool(std::string_view)> on_body = {};
  /// Asked ten times a second while the request waits; true ends it.
  std::function<bool()> cancelled = {};
};

/// Sends the request and waits for the whole response, whatever its status; callbacks run on the calling
/// thread. Takes no signals. Safe from any thread.
///
/// kInvalidArgument for a request that cannot be sent (scheme, URL, header), kUnavailable where the peer does
/// not answer or in time, kFailedPrecondition where its certificate is not trusted, kDataLoss for what is not
/// HTTP or ends early, kResourceExhausted for a response too large, kCancelled where a callback ended it.
/// Sentences name the server and path, never a query, header or body.
Result<HttpResponse> HttpFetch(const HttpClientRequest& request);

}  // namespace hadal
