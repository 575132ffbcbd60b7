// The HTTPS server: listens, holds many connections on few threads, and leads requests to their routes.
//
//   routes + Authorizer --> HttpServer --(HttpRequest, ResponseWriter)--> Handler
//
// HTTP/1.1 (and 1.0) over TLS 1.3. A request passes, in this order: the parser (http_parser.h), the Host
// rule, the route table, the Authorizer, the body; only then its handler sees it. README.md says what every
// refusal is.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/http_parser.h"
#include "server/http_types.h"
#include "server/tls.h"

namespace hadal {

/// One finished response, for the access log and the metrics. Holds no header and no body, so no secret.
struct AccessRecord {
  std::string_view method;  // "" where the request was too broken to have one
  std::string_view route;   // the route's path, also where it was refused; "" where none matched (targets are
                            // unbounded, routes are not)
  int status = 0;           // as sent; 499 where the client went away before a status was sent
  uint64_t bytes = 0;       // of the response handed to the connection
  std::chrono::nanoseconds duration{0};  // from the request's first byte to the response's last
  bool completed = false;                // false: the client went away or was cut off before the end
  std::string_view request_id, peer;
  const Identity* identity = nullptr;  // null where nobody was identified
  std::chrono::steady_clock::time_point start{};  // when the request's first byte came
  const RequestNotes* notes = nullptr;            // what the handler told
};

struct ServerOptions {
  std::string listen = "127.0.0.1:0";  // numeric address:port, "[::1]:8443"; port 0: any free one
  TlsOptions tls;                      // tls.min_version = "1.2" allows TLS 1.2, by name
  bool plain = false;                  // no TLS; only on a loopback address
  bool unauthenticated = false;        // a null Authorizer is meant: every route is open (tests)

  /// Host names that this service goes by (without ports). Others get 421, so that a page whose name an
  /// attacker points here (DNS rebinding) cannot use a browser's position. The address that a connection came
  /// in on is always allowed, and on loopback connections "localhost". Empty: on a loopback listener just
  /// those; elsewhere any name.
  std::vector<std::string> allowed_hosts;

  int io_threads = 2;
  ParserLimits parser;
  size_t max_connections = 8192;
  size_t max_connections_per_peer = 4096;    // per IPv4 address or IPv6 /64
  size_t max_requests_in_flight = 4096;      // then 429; GET and HEAD are exempt, so that probes are answered
  size_t max_total_body_bytes = 128 << 20;   // of bodies that arrive, wait or are being read; beyond it 503
  size_t max_stream_buffer_bytes = 1 << 20;  // unsent bytes of a stream before its reader counts as too slow
  size_t max_total_stream_bytes = 64 << 20;  // of all; beyond it, readers with more than 16 KiB unsent are too slow
  /// Of whole responses that are being made or have not left. Nothing that is made is cut off: who makes one sees that
  /// it fits (HttpServer::responses), or that it is at most kFairResponseBytes.
  size_t max_total_response_bytes = 64 << 20;
  int send_buffer_bytes = 256 << 10;         // the kernel's, per connection; 0: the system's choice

  std::chrono::milliseconds handshake_timeout{10'000};
  std::chrono::milliseconds idle_timeout{75'000};    // between requests of a connection
  std::chrono::milliseconds header_timeout{10'000};  // from a request's first byte to the end of its header
  std::chrono::milliseconds body_timeout{60'000};    // from there to the end of its body
  std::chrono::milliseconds write_timeout{30'000};   // for queued bytes to leave, whatever trickles meanwhile
  std::chrono::milliseconds linger_timeout{2'000};   // for the client to read a final response

  /// Called from server threads after each response; must be quick.
  std::function<void(const AccessRecord&)> observer;
};

/// Counters since the start and gauges of now.
struct ServerStats {
  size_t connections = 0;
  size_t requests_in_flight = 0;  // including streams
  size_t streams = 0;
  uint64_t accepted = 0;
  uint64_t refused_connections = 0;  // over a connection limit
  uint64_t accept_failures = 0;      // no descriptors or memory: accepting paused
  uint64_t handshake_failures = 0;
  uint64_t timeouts = 0;      // connections ended by a time limit
  uint64_t slow_readers = 0;  // streams cut off for their unsent bytes
};

class HttpServer {
 public:
  /// Listens and serves from the moment it returns. `authorizer` must outlive the server; it may be null only
  /// if all routes are public or options.unauthenticated says so. kInvalidArgument for options and routes
  /// that make no sense, kUnavailable if the address cannot be listened on, TLS errors as TlsContext::Load
  /// gives them.
  static Result<std::unique_ptr<HttpServer>> Start(const ServerOptions& options, std::vector<Route> routes,
                                                   Authorizer* authorizer);
  ~HttpServer();  // Stop(0)

  /// Bytes that the limits allow connections to take together: what an idle one costs (README.md), headers and TLS
  /// records of requests under way, bodies that arrive, responses that have not left.
  static uint64_t PlannedBytes(const ServerOptions& options);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// The address listened on, with the real port: "127.0.0.1:41873".
  const std::string& address() const;
  int port() const;

  /// Listens no more, lets running responses end for up to `drain`, closes what is left (their OnDisconnect
  /// fires) and returns when no server thread runs. Writers may be used afterwards; they do nothing.
  void Stop(std::chrono::milliseconds drain);

  /// See TlsContext::Reload; kFailedPrecondition in plain mode.
  Status ReloadCertificate();
  /// When the certificate expires; the epoch in plain mode.
  std::chrono::system_clock::time_point certificate_not_after() const;

  ServerStats stats() const;
  /// What whole responses have of max_total_response_bytes: who collects one counts there what it holds.
  std::shared_ptr<ByteRoom> responses() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal
