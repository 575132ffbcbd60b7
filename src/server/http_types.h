// What a handler sees of HTTP: the request, the writer of its response, the route that led to it, and who may
// take it. The server (http_server.h), the access rules (Authorizer) and the API (handlers) meet here and
// only here.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "server/byte_room.h"

namespace hadal {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// Who calls, as the Authorizer established it from the token.
struct Identity {
  std::string subject;              // the user, or the client itself where no user stands behind it
  std::string client;               // the OAuth client or API key
  std::vector<std::string> scopes;  // granted scopes, e.g. "infer"
};

/// A request that the server has checked (http_parser.h): its framing is unambiguous, its Host is allowed,
/// header names are lower-case tokens, values hold no control characters and have no space around them.
/// Moves and is never copied; at its end, header values and body are overwritten, as they may hold secrets.
struct HttpRequest {
  HttpRequest() = default;
  HttpRequest(HttpRequest&&) = default;
  HttpRequest& operator=(HttpRequest&&) = default;
  ~HttpRequest();

  std::string method;  // "GET", "POST", ...: as sent, names are case-sensitive
  std::string
      target;  // path in origin form, as sent (percent-encoding untouched), no query; "*" for OPTIONS *
  std::string query;       // what follows the first '?', without it
  HttpHeaders headers;     // in order of arrival; a repeated name stays repeated
  std::string body;        // whole body, within ServerOptions::max_body_bytes
  std::string request_id;  // the client's X-Request-Id if well-formed, else generated; sent back to it
  std::string peer;        // numeric address without the port: "127.0.0.1", "::1"
  std::string
      client_certificate_subject;  // RFC 2253 name of the verified client certificate; empty without one
  std::shared_ptr<const Identity> identity;  // who the Authorizer says it is; null on public routes
  ByteRoom::Share room;  // of the server's room for bodies: taken as long as the request is there

  /// The first header called `lower_name` (lower case), or null.
  const std::string* Header(std::string_view lower_name) const {
    for (const auto& [name, value] : headers) {
      if (name == lower_name) return &value;
    }
    return nullptr;
  }
  /// How many headers are called `lower_name`: credentials must be there once, or the request is ambiguous.
  int CountHeader(std::string_view lower_name) const {
    int count = 0;
    for (const auto& header : headers) count += header.first == lower_name;
    return count;
  }
};

/// What a handler tells the access log of a generation, from any thread, as it goes: whatever ends the response,
/// the log has what was known then.
struct RequestNotes {
  std::atomic<int64_t> prompt_tokens{-1};  // -1: nothing is generated here
  std::atomic<int64_t> cached_tokens{0};   // of the prompt
  std::atomic<int64_t> generated_tokens{0};
  std::atomic<int64_t> first_token_ns{0};            // by std::chrono::steady_clock; 0: none yet
  std::atomic<const char*> finish_reason{nullptr};  // a literal: "stop", ...; of several choices the last one's
};

/// Writes one response. Thread-safe: any thread may call it (the engine's too), and no call blocks; bytes are
/// handed to the connection's thread. Exactly one of Send or StartStream starts the response; a second start
/// and writes after the end are ignored. If the last reference goes away before any start, the client gets a
/// 500; in mid-stream, the connection is closed without the final chunk, so that the client sees that the
/// answer is cut.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  /// The whole response. Content-Length, Date, X-Request-Id and Connection are added by the server; `headers`
  /// must not name them. Header values with control characters are a bug of the caller and are refused with a
  /// 500.
  virtual void Send(int status, HttpHeaders headers, std::string body) = 0;

  /// Starts a response of unknown length (server-sent events): chunked in HTTP/1.1, until close in HTTP/1.0.
  virtual void StartStream(int status, HttpHeaders headers) = 0;

  /// Appends to the stream. False: the peer is gone or it reads so slowly that
  /// ServerOptions::max_stream_buffer_bytes are waiting for it (then the connection is closed and
  /// OnDisconnect fires); stop producing.
  virtual bool Write(std::string chunk) = 0;

  /// Ends the stream; the connection may then be used for the next request.
  virtual void EndStream() = 0;

  /// `callback` is called at most once, from a server thread, when the client goes away before the response
  /// has ended; at once if it is already gone. It must return quickly. It is dropped when the response is
  /// complete.
  virtual void OnDisconnect(std::function<void()> callback) = 0;

  /// Valid as long as the writer; null where nobody logs.
  virtual RequestNotes* notes() { return nullptr; }
};

/// Answers a request, now or later from any thread, through the writer. Runs on a server thread: must return
/// quickly. The request ends with the call; a handler that needs it longer moves it, and the room of its body with it.
using Handler = std::function<void(HttpRequest&, std::shared_ptr<ResponseWriter>)>;

// What a response that is sent whole may take although all together are over their limit.
inline constexpr size_t kFairResponseBytes = 64 << 10;

/// The body (JSON) of a refusal that the server itself gives; `code`: for programs, may be empty.
using RefusalBody = std::string (*)(int status, std::string_view message, std::string_view code);

/// One method on one exact path. A GET route answers HEAD too (the body is left out).
struct Route {
  std::string method;
  std::string path;
  std::string scope;  // what the caller's token must grant; kPublicScope: no token needed, said by name
  Handler handler;
  size_t max_body_bytes = 0;  // 0: ServerOptions::parser.max_body_bytes; a larger body gets 413
  RefusalBody refusal_body = nullptr;  // null: ErrorBody of http_response.h, as OpenAI's clients expect it
};
inline constexpr std::string_view kPublicScope = "";

/// Decides who may take a route. Called from server threads, concurrently, before the body is read; must be
/// quick.
class Authorizer {
 public:
  /// Why not, as RFC 6750 words it: 400 invalid_request, 401 invalid_token, 403 insufficient_scope, 429, 503.
  struct Denial {
    int status = 401;
    std::string www_authenticate;  // value of the WWW-Authenticate header; empty: none
    std::string error;             // "invalid_token", ...
    std::string description;       // for people; never tells a secret
  };
  virtual ~Authorizer() = default;

  /// The caller's identity if `request` (headers, peer and certificate; no body yet) grants `scope` (never
  /// kPublicScope), else the denial to answer with.
  virtual tl::expected<Identity, Denial> Check(const HttpRequest& request, std::string_view scope) = 0;
};

}  // namespace hadal
