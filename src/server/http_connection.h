// One client's connection: a state machine on its io thread, woken by the socket, a timer, or an Exchange.
//
//   handshake -> idle -> header -> body -> responding -> idle ...      any of them -> linger -> closed
//
// A callback machine and not a coroutine, because an idle stream must cost little and must notice a
// disconnect: the connection always waits for readability, also while a handler thinks. Requests are answered
// one after the other; bytes that come early (pipelining) wait, up to a bound, then the socket is no longer
// read.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "server/http_exchange.h"
#include "server/http_router.h"
#include "server/http_server.h"

namespace hadal {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;

class Connection;

/// What all connections of a server share.
struct ServerContext {
  ServerContext(ServerOptions o, Router r, HostRule h)
      : options(std::move(o)),
        router(std::move(r)),
        hosts(std::move(h)),
        bodies(std::make_shared<ByteRoom>(options.max_total_body_bytes)),
        responses(std::make_shared<ByteRoom>(options.max_total_response_bytes)) {}

  const ServerOptions options;
  const Router router;
  const HostRule hosts;
  const std::shared_ptr<ByteRoom> bodies;     // tasks that hold a request's body may outlive the server
  const std::shared_ptr<ByteRoom> responses;  // and so may calls that collect a response
  Authorizer* authorizer = nullptr;
  std::unique_ptr<TlsContext> tls;  // null: plain

  std::atomic<bool> draining{false};
  std::atomic<size_t> connections{0}, in_flight{0}, streams{0}, unsent_bytes{0};
  std::atomic<uint64_t> accepted{0}, refused{0}, accept_failures{0}, handshake_failures{0}, timeouts{0},
      slow_readers{0};

  /// Counts a connection of `peer_key`, unless a limit is reached.
  bool Admit(const std::string& peer_key);
  void Release(const std::string& peer_key);

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, size_t> per_peer_;  // guarded by mutex_; only peers with connections
};

/// One io thread and what its connections share without locks.
struct IoThread {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  std::array<char, 16 << 10> scratch;  // every read lands here first, so an idle connection owns no buffer
  std::unordered_set<Connection*> connections;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(ServerContext& server, IoThread& thread, Tcp::socket socket, std::string peer,
             std::string peer_key);
  ~Connection();

  // All on the io thread.
  void Start();
  void Drain();  // closes if no request is under way; else its response does (Exchange sees that we drain)
  void Close();

 private:
  enum class Phase : uint8_t { kHandshake, kIdle, kHeader, kBody, kResponding, kLinger, kClosed };
  using Clock = std::chrono::steady_clock;

  // Waiting.
  void WaitRead();
  void WaitWrite();
  void SetDeadline(Clock::time_point deadline);
  void WaitDeadline();
  void OnDeadline();

  // Reading.
  void Handshake();
  void ReadMore();
  void OnBytes(std::string_view bytes);
  void Parse(std::string_view bytes);
  bool OnHeader();                     // false: answered already
  void Decide(HttpRequest& request);   // sets route_, or deferred_
  void Reserve(HttpRequest& request);  // takes the request into the server's limits, or sets deferred_
  bool GrowBodyRoom(size_t more);
  void Defer(int status, std::string message, HttpHeaders headers = {}, std::string code = "");
  void Dispatch();
  void OnPeerEnd();
  void DiscardMore();

  // Answering.
  void BeginExchange(const Route* route, bool keep_alive);
  void Refuse(int status, std::string_view message, HttpHeaders headers = {}, std::string_view code = "");
  void RefuseAndClose(int status, std::string_view message);
  void TakeResponse();
  void WriteMore();
  void FinishResponse();
  void Report(bool completed);
  void Linger();

  ServerContext& server_;
  IoThread& thread_;
  Tcp::socket socket_;
  Transport transport_;
  asio::steady_timer timer_;
  const std::string peer_, peer_key_;
  std::string client_subject_;

  Phase phase_ = Phase::kHandshake;
  bool waiting_read_ = false, waiting_write_ = false, waiting_deadline_ = false;
  bool read_paused_ = false, response_ended_ = false, cut_off_ = false, counted_ = false;
  bool stream_counted_ = false;
  Clock::time_point deadline_ = Clock::time_point::max(), armed_for_ = Clock::time_point::max();
  Clock::time_point request_start_;

  ByteRoom::Share body_room_;              // for the body that arrives; then it is the request's
  size_t most_body_ = 0;                   // bytes that it may have
  std::unique_ptr<RequestParser> parser_;  // from a request's first byte until its handler is called
  std::string early_;                      // bytes of following requests
  std::string out_;                        // to write, from out_done_ on
  size_t out_done_ = 0;
  uint64_t queued_ = 0, sent_ = 0, watermark_ = 0;  // bytes ever; watermark_ must have left by the deadline

  std::shared_ptr<Exchange> exchange_;  // from the header's end until the response has left
  const Route* route_ = nullptr;
  RefusalBody refusal_body_ = nullptr;  // of the route that the request asks for, also where it is refused
  struct Refusal {
    int status;
    std::string message, code;
    HttpHeaders headers;
  };
  std::unique_ptr<Refusal> deferred_;  // to be given after a short body has been read
  struct Log {                         // what the access log will say, kept small
    std::string method, request_id;
    std::shared_ptr<const Identity> identity;
  };
  std::unique_ptr<Log> log_;
};

}  // namespace hadal
