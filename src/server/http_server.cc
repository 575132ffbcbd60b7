#include "server/http_server.h"

#include <boost/asio/post.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <exception>
#include <optional>
#include <thread>

#include "server/http_connection.h"

namespace hadal {
namespace {

// How long accepting pauses when descriptors or memory have run out: open connections go on meanwhile.
constexpr std::chrono::milliseconds kAcceptPause{50};

// A connection without a request (measured: 16 KiB with TLS), and what one with a request has beside its header:
// a TLS record each way, and what a response may always have: a whole one more than a stream.
constexpr uint64_t kIdleBytes = 20 << 10;
constexpr uint64_t kActiveBytes = (2 * 17 << 10) + kFairResponseBytes;
static_assert(Exchange::kFairBytes <= kFairResponseBytes);

Result<Tcp::endpoint> ParseListen(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  std::string host = colon == std::string::npos ? "" : listen.substr(0, colon);
  const std::string port = colon == std::string::npos ? "" : listen.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  boost::system::error_code bad;
  const auto address = asio::ip::make_address(host, bad);
  if (bad || error != std::errc() || end != port.data() + port.size()) {
    return InvalidArgument(
        "listen address is '{}', expected a numeric address and a port, as in 127.0.0.1:8443", listen);
  }
  return Tcp::endpoint(address, number);
}

/// Whom per-peer limits count together: an IPv4 address, or the /64 that one IPv6 site can draw from at will.
std::string PeerKey(const asio::ip::address& address) {
  if (!address.is_v6()) return address.to_string();
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return asio::ip::address_v6(bytes).to_string();
}

Status CheckOptions(const ServerOptions& options, const Tcp::endpoint& endpoint, const Router& router,
                    const Authorizer* authorizer) {
  if (options.plain && !endpoint.address().is_loopback()) {
    return InvalidArgument(
        "plain HTTP is asked for on {}: it is served on loopback only; leave plain off for TLS",
        options.listen);
  }
  if (!authorizer && !options.unauthenticated && !router.AllPublic()) {
    return FailedPrecondition("routes name scopes and there is no Authorizer to check them");
  }
  if (options.io_threads < 1 || options.io_threads > 64) {
    return InvalidArgument("io_threads is {}, expected 1 to 64", options.io_threads);
  }
  for (const auto& name : options.allowed_hosts) {
    if (HostName(name).empty())
      return InvalidArgument("allowed host '{}' is not a host name or address", name);
  }
  return {};
}

bool OutOfResources(const boost::system::error_code& error) {
  const int code = error.value();
  return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM;
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(std::unique_ptr<ServerContext> context, Tcp::endpoint endpoint) : context_(std::move(context)) {
    for (int i = 0; i < context_->options.io_threads; ++i) threads_.push_back(std::make_unique<IoThread>());
    acceptor_.emplace(threads_[0]->io, endpoint.protocol());
    pause_.emplace(threads_[0]->io);
    acceptor_->set_option(Tcp::acceptor::reuse_address(true));
    acceptor_->bind(endpoint);
    acceptor_->listen(1024);
    const auto bound = acceptor_->local_endpoint();
    port_ = bound.port();
    const auto host = bound.address().to_string();
    address_ =
        bound.address().is_v6() ? fmt::format("[{}]:{}", host, port_) : fmt::format("{}:{}", host, port_);
    Accept();
    for (auto& thread : threads_) runners_.emplace_back([io = &thread->io] { Run(*io); });
  }

  void Stop(std::chrono::milliseconds drain) {
    std::lock_guard lock(stop_mutex_);
    if (runners_.empty()) return;
    context_->draining = true;
    asio::post(threads_[0]->io, [this] {
      boost::system::error_code ignored;
      acceptor_->close(ignored);
      pause_->cancel();
    });
    Everywhere([](Connection& connection) { connection.Drain(); });
    const auto limit = std::chrono::steady_clock::now() + drain;
    // Polled: it ends once in a process's life, and connections need no way to signal then.
    while (context_->connections > 0 && std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    Everywhere([](Connection& connection) { connection.Close(); });
    for (auto& thread : threads_) asio::post(thread->io, [t = thread.get()] { t->work.reset(); });
    for (auto& runner : runners_) runner.join();
    runners_.clear();
  }

  ServerContext& context() { return *context_; }
  const std::string& address() const { return address_; }
  int port() const { return port_; }

 private:
  /// A thread's life. No exception of Asio, a handler's callback or an allocation ends it.
  static void Run(asio::io_context& io) {
    for (;;) {
      try {
        io.run();
        return;
      } catch (const std::exception&) {
        // The operation that threw is lost; its connection is ended by its deadline or its peer.
      }
    }
  }

  void Everywhere(void (*action)(Connection&)) {
    for (auto& thread : threads_) {
      asio::post(thread->io, [t = thread.get(), action] {
        const std::vector<Connection*> all(t->connections.begin(), t->connections.end());
        for (Connection* connection : all) {
          // An action may end others' lives only through their own callbacks, which run later.
          if (t->connections.contains(connection)) action(*connection);
        }
      });
    }
  }

  void Accept() {
    IoThread& thread = *threads_[next_++ % threads_.size()];
    acceptor_->async_accept(thread.io,
                            [this, &thread](const boost::system::error_code& error, Tcp::socket socket) {
                              if (context_->draining) return;
                              if (!error) {
                                ++context_->accepted;
                                Adopt(thread, std::move(socket));
                                return Accept();
                              }
                              if (error == asio::error::operation_aborted) return;
                              if (!OutOfResources(error))
                                return Accept();  // the client was gone before it was accepted
                              ++context_->accept_failures;
                              pause_->expires_after(kAcceptPause);
                              pause_->async_wait([this](const boost::system::error_code& cancelled) {
                                if (!cancelled && !context_->draining) Accept();
                              });
                            });
  }

  void Adopt(IoThread& thread, Tcp::socket socket) {
    boost::system::error_code error;
    auto address = socket.remote_endpoint(error).address();
    if (error) return;
    if (address.is_v6() && address.to_v6().is_v4_mapped()) {
      address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
    }
    std::string key = PeerKey(address);
    if (!context_->Admit(key)) {
      ++context_->refused;
      return;  // closed: over TLS there is no cheaper way to say so
    }
    std::shared_ptr<Connection> connection;
    try {
      connection =
          std::make_shared<Connection>(*context_, thread, std::move(socket), address.to_string(), key);
    } catch (const std::exception&) {
      context_->Release(key);
      return;
    }
    asio::post(thread.io, [connection] { connection->Start(); });
  }

  std::unique_ptr<ServerContext> context_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::optional<Tcp::acceptor> acceptor_;  // on threads_[0], as pause_
  std::optional<asio::steady_timer> pause_;
  size_t next_ = 0;
  std::string address_;
  int port_ = 0;
  std::mutex stop_mutex_;
  std::vector<std::thread> runners_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(std::chrono::milliseconds(0)); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const ServerOptions& options, std::vector<Route> routes,
                                                      Authorizer* authorizer) {
  ASSIGN_OR_RETURN(const Tcp::endpoint endpoint, ParseListen(options.listen));
  ASSIGN_OR_RETURN(Router router, Router::Make(std::move(routes)));
  RETURN_IF_ERROR(CheckOptions(options, endpoint, router, authorizer));
  auto context = std::make_unique<ServerContext>(
      options, std::move(router), HostRule(options.allowed_hosts, endpoint.address().is_loopback()));
  context->authorizer = authorizer;
  if (!options.plain) {
    ASSIGN_OR_RETURN(context->tls, TlsContext::Load(options.tls));
  }
  try {
    return std::unique_ptr<HttpServer>(new HttpServer(std::make_unique<Impl>(std::move(context), endpoint)));
  } catch (const boost::system::system_error& error) {
    return Unavailable("cannot listen on {}: {}", options.listen, error.code().message());
  } catch (const std::exception& error) {
    return ResourceExhausted("cannot start the server's threads: {}", error.what());
  }
}

uint64_t HttpServer::PlannedBytes(const ServerOptions& options) {
  const uint64_t active = std::min(options.max_requests_in_flight, options.max_connections);
  return options.max_connections * kIdleBytes + active * (options.parser.max_header_bytes + kActiveBytes) +
         options.max_total_body_bytes + options.max_total_stream_bytes + options.max_total_response_bytes;
}

const std::string& HttpServer::address() const { return impl_->address(); }
int HttpServer::port() const { return impl_->port(); }
void HttpServer::Stop(std::chrono::milliseconds drain) { impl_->Stop(drain); }

Status HttpServer::ReloadCertificate() {
  if (!impl_->context().tls)
    return FailedPrecondition("the server runs without TLS and has no certificate to reload");
  return impl_->context().tls->Reload();
}

std::chrono::system_clock::time_point HttpServer::certificate_not_after() const {
  return impl_->context().tls ? impl_->context().tls->not_after() : std::chrono::system_clock::time_point{};
}

std::shared_ptr<ByteRoom> HttpServer::responses() const { return impl_->context().responses; }

ServerStats HttpServer::stats() const {
  const ServerContext& context = impl_->context();
  ServerStats stats;
  stats.connections = context.connections;
  stats.requests_in_flight = context.in_flight;
  stats.streams = context.streams;
  stats.accepted = context.accepted;
  stats.refused_connections = context.refused;
  stats.accept_failures = context.accept_failures;
  stats.handshake_failures = context.handshake_failures;
  stats.timeouts = context.timeouts;
  stats.slow_readers = context.slow_readers;
  return stats;
}

}  // namespace hadal
