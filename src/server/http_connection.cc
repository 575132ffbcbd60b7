#include "server/http_connection.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/post.hpp>

#include "server/secrets.h"

namespace hadal {
namespace {

// Bytes of later requests held while one is answered; then the socket is left unread.
constexpr size_t kMaxEarlyBytes = 64 << 10;
// Reads in one go before the thread's other connections get their turn.
constexpr int kMaxRounds = 8;
// A refused request's body up to this size is read, so that the connection can go on; beyond, it is closed.
constexpr uint64_t kMaxReadToRefuse = 16 << 10;

// Of the room for bodies, when a body begins.
constexpr size_t kFirstBodyBytes = 64 << 10;
constexpr const char* kNoBodyRoom = "Too many request bodies are arriving or waiting; try again shortly.";

std::string LocalAddress(const Tcp::socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.local_endpoint(error);
  if (error) return "";
  auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return address.to_string();
}

}  // namespace

bool ServerContext::Admit(const std::string& peer_key) {
  std::lock_guard lock(mutex_);
  if (connections >= options.max_connections) return false;
  size_t& count = per_peer_[peer_key];
  if (count >= options.max_connections_per_peer) {
    if (count == 0) per_peer_.erase(peer_key);
    return false;
  }
  ++count;
  ++connections;
  return true;
}

void ServerContext::Release(const std::string& peer_key) {
  std::lock_guard lock(mutex_);
  --connections;
  const auto peer = per_peer_.find(peer_key);
  if (peer != per_peer_.end() && --peer->second == 0) per_peer_.erase(peer);
}

Connection::Connection(ServerContext& server, IoThread& thread, Tcp::socket socket, std::string peer,
                       std::string peer_key)
    : server_(server),
      thread_(thread),
      socket_(std::move(socket)),
      transport_(socket_.native_handle(), server.tls.get()),
      timer_(thread.io),
      peer_(std::move(peer)),
      peer_key_(std::move(peer_key)) {}

Connection::~Connection() { server_.Release(peer_key_); }

void Connection::Start() {
  thread_.connections.insert(this);
  if (server_.draining) return Close();
  boost::system::error_code ignored;
  socket_.native_non_blocking(true, ignored);
  socket_.set_option(Tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  if (server_.options.send_buffer_bytes > 0) {
    socket_.set_option(asio::socket_base::send_buffer_size(server_.options.send_buffer_bytes), ignored);
  }
  SetDeadline(Clock::now() + server_.options.handshake_timeout);
  Handshake();
}

void Connection::Drain() {
  if (phase_ == Phase::kHandshake || phase_ == Phase::kIdle) Close();
}

void Connection::Close() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  phase_ = Phase::kClosed;
  thread_.connections.erase(this);
  if (exchange_) {
    Report(false);
    exchange_->Close();
    exchange_ = nullptr;
  }
  if (std::exchange(counted_, false)) --server_.in_flight;
  body_room_ = {};
  Wipe(early_);
  timer_.cancel();
  boost::system::error_code ignored;
  socket_.close(ignored);
}

// --- Waiting -----------------------------------------------------------------------------------------------

void Connection::WaitRead() {
  if (waiting_read_ || phase_ == Phase::kClosed) return;
  waiting_read_ = true;
  socket_.async_wait(Tcp::socket::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->waiting_read_ = false;
                       if (error || self->phase_ == Phase::kClosed) return;
                       if (self->phase_ == Phase::kHandshake) return self->Handshake();
                       if (self->phase_ == Phase::kLinger) return self->DiscardMore();
                       self->ReadMore();
                       // A TLS write may have waited for incoming bytes.
                       if (self->out_.size() > self->out_done_) self->WriteMore();
                     });
}

void Connection::WaitWrite() {
  if (waiting_write_ || phase_ == Phase::kClosed) return;
  waiting_write_ = true;
  socket_.async_wait(
      Tcp::socket::wait_write, [self = shared_from_this()](const boost::system::error_code& error) {
        self->waiting_write_ = false;
        if (error || self->phase_ == Phase::kClosed) return;
        if (self->phase_ == Phase::kHandshake) return self->Handshake();
        if (self->phase_ == Phase::kLinger) return;
        self->WriteMore();
        // A TLS read may have waited for room to write.
        if (self->phase_ != Phase::kClosed && self->phase_ != Phase::kLinger && !self->waiting_read_)
          self->ReadMore();
      });
}

/// One timer serves all limits: it is set anew only to fire earlier; a deadline moved later is noticed on
/// firing.
void Connection::SetDeadline(Clock::time_point deadline) {
  deadline_ = deadline;
  if (deadline == Clock::time_point::max()) return;
  if (!waiting_deadline_ || deadline < armed_for_) WaitDeadline();
}

void Connection::WaitDeadline() {
  waiting_deadline_ = true;
  armed_for_ = deadline_;
  timer_.expires_at(deadline_);
  timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->phase_ == Phase::kClosed) return;
    self->waiting_deadline_ = false;
    if (self->deadline_ == Clock::time_point::max()) return;
    if (Clock::now() < self->deadline_) return self->WaitDeadline();
    self->OnDeadline();
  });
}

void Connection::OnDeadline() {
  deadline_ = Clock::time_point::max();
  switch (phase_) {
    case Phase::kHeader:
      ++server_.timeouts;
      return RefuseAndClose(408, "The request header took too long to arrive.");
    case Phase::kBody:
      ++server_.timeouts;
      deferred_ = nullptr;
      return RefuseAndClose(408, "The request body took too long to arrive.");
    case Phase::kResponding:
      // What was queued when the deadline was set has left, only later bytes wait: give those their time.
      if (sent_ >= watermark_) {
        if (sent_ == queued_) return;
        watermark_ = queued_;
        return SetDeadline(Clock::now() + server_.options.write_timeout);
      }
      ++server_.timeouts;
      return Close();
    case Phase::kHandshake: ++server_.timeouts; return Close();
    default: return Close();
  }
}

// --- Reading -----------------------------------------------------------------------------------------------

void Connection::Handshake() {
  switch (transport_.Handshake()) {
    case Transport::Outcome::kOk: break;
    case Transport::Outcome::kWantRead: return WaitRead();
    case Transport::Outcome::kWantWrite: return WaitWrite();
    default: ++server_.handshake_failures; return Close();
  }
  // We answer the handshake's last flight with nothing, so its acknowledgement would be delayed by 40 ms, and
  // a client without TCP_NODELAY holds its request back until then.
  const int now = 1;
  ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_QUICKACK, &now, sizeof now);
  client_subject_ = transport_.ClientSubject();
  phase_ = Phase::kIdle;
  // A client that says nothing after the handshake has no more time than one that says little.
  SetDeadline(Clock::now() + server_.options.header_timeout);
  ReadMore();
}

void Connection::ReadMore() {
  const auto self = shared_from_this();
  for (int round = 0; round < kMaxRounds; ++round) {
    if (phase_ == Phase::kClosed || phase_ == Phase::kLinger) return;
    if (early_.size() >= kMaxEarlyBytes) {
      read_paused_ = true;
      return;
    }
    const auto [outcome, n] = transport_.Read(thread_.scratch);
    switch (outcome) {
      case Transport::Outcome::kOk:
        OnBytes({thread_.scratch.data(), n});
        WipeMemory(thread_.scratch.data(), n);  // passwords and tokens come among them
        break;
      case Transport::Outcome::kWantRead: return WaitRead();
      case Transport::Outcome::kWantWrite: return WaitWrite();
      case Transport::Outcome::kEnd: return OnPeerEnd();
      case Transport::Outcome::kFailed: return Close();
    }
  }
  asio::post(thread_.io, [self] {
    if (!self->waiting_read_) self->ReadMore();
  });
}

void Connection::OnBytes(std::string_view bytes) {
  // Also between two requests, while the next one's first bytes wait for their turn in the queue.
  if (phase_ == Phase::kResponding || !early_.empty()) {
    AppendWiping(early_, bytes, SIZE_MAX);
  } else {
    Parse(bytes);
  }
}

/// Feeds the parser until a request is complete; what follows it is kept.
void Connection::Parse(std::string_view bytes) {
  while (!bytes.empty() && (phase_ == Phase::kIdle || phase_ == Phase::kHeader || phase_ == Phase::kBody)) {
    if (phase_ == Phase::kIdle) {
      parser_ = std::make_unique<RequestParser>(server_.options.parser);
      refusal_body_ = nullptr;
      phase_ = Phase::kHeader;
      request_start_ = Clock::now();
      SetDeadline(request_start_ + server_.options.header_timeout);
    }
    if (phase_ == Phase::kBody && !GrowBodyRoom(bytes.size())) return;
    const auto used = parser_->Feed(bytes);
    if (!used) return RefuseAndClose(used.error().status, used.error().message);
    bytes.remove_prefix(*used);
    if (phase_ == Phase::kHeader && parser_->state() != RequestParser::State::kHeader && !OnHeader()) break;
    if (parser_->state() == RequestParser::State::kDone) Dispatch();
  }
  if (phase_ == Phase::kResponding) AppendWiping(early_, bytes, SIZE_MAX);
}

/// The request's header is whole: refused, or its body is awaited.
bool Connection::OnHeader() {
  HttpRequest& request = parser_->request();
  request.peer = peer_;
  request.client_certificate_subject = client_subject_;
  request.request_id = ChooseRequestId(request);
  log_ = std::make_unique<Log>(Log{request.method, request.request_id, nullptr});
  phase_ = Phase::kBody;
  Decide(request);
  if (!deferred_) Reserve(request);
  if (deferred_) {
    // A short body is read first: the client need not open another connection.
    const bool short_body = !parser_->chunked() && parser_->content_length() <= kMaxReadToRefuse;
    if (parser_->has_body() && (!short_body || parser_->expects_continue())) {
      const auto refusal = std::move(deferred_);
      BeginExchange(route_, false);
      Refuse(refusal->status, refusal->message, std::move(refusal->headers), refusal->code);
      return false;
    }
  }
  if (parser_->state() == RequestParser::State::kDone) return true;
  SetDeadline(Clock::now() + server_.options.body_timeout);
  if (parser_->expects_continue()) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    queued_ = sent_ + (out_.size() - out_done_);
    WriteMore();
  }
  return phase_ == Phase::kBody;
}

void Connection::Defer(int status, std::string message, HttpHeaders headers, std::string code) {
  deferred_ =
      std::make_unique<Refusal>(Refusal{status, std::move(message), std::move(code), std::move(headers)});
}

/// Host, route, access, in this order: what a stranger learns is only which paths exist.
void Connection::Decide(HttpRequest& request) {
  route_ = nullptr;
  if (!server_.hosts.Allows(parser_->host(), LocalAddress(socket_), transport_.ServerName())) {
    return Defer(421, "This service does not go by that host name.");
  }
  const auto match = server_.router.Find(request.method, request.target);
  if (!match.route) {
    HttpHeaders headers;
    if (!match.allow.empty()) headers.emplace_back("allow", match.allow);
    return Defer(match.status,
                 match.status == 404   ? "There is nothing at this path."
                 : match.status == 405 ? "This path does not take this method."
                                       : "This server does not know this method.",
                 std::move(headers));
  }
  route_ = match.route;
  refusal_body_ = match.route->refusal_body;
  if (!server_.authorizer || route_->scope == kPublicScope) return;
  try {
    auto identity = server_.authorizer->Check(request, route_->scope);
    if (!identity) {
      const auto& denial = identity.error();
      HttpHeaders headers;
      if (!denial.www_authenticate.empty()) headers.emplace_back("www-authenticate", denial.www_authenticate);
      return Defer(denial.status, denial.description, std::move(headers), denial.error);
    }
    request.identity = std::make_shared<const Identity>(std::move(*identity));
    log_->identity = request.identity;
  } catch (const std::exception&) {
    Defer(500, "The server could not check who is calling.");
  }
}

/// What a request may cost is taken before its body is: the number under way, the bytes of all bodies.
void Connection::Reserve(HttpRequest& request) {
  const std::string* coding = request.Header("content-encoding");
  if (coding && *coding != "identity") {
    return Defer(415, "Compressed request bodies are not accepted.", {{"accept-encoding", "identity"}});
  }
  const auto& options = server_.options;
  const size_t limit = route_->max_body_bytes ? route_->max_body_bytes : options.parser.max_body_bytes;
  parser_->LimitBody(limit);
  if (parser_->content_length() > limit)
    return Defer(413, "The request body is larger than this path takes.");
  const HttpHeaders retry = {{"retry-after", "1"}};
  const bool exempt = request.method == "GET" || request.method == "HEAD";
  if (server_.in_flight.fetch_add(1) >= options.max_requests_in_flight && !exempt) {
    --server_.in_flight;
    return Defer(429, "Too many requests are under way; try again shortly.", retry);
  }
  counted_ = true;
  body_room_ = ByteRoom::Share(server_.bodies);
  most_body_ = parser_->chunked() ? limit : parser_->content_length();
  // No more than that: who announces a long body and sends none of it would hold the room of others.
  if (!body_room_.TrySet(std::min(most_body_, kFirstBodyBytes))) Defer(503, kNoBodyRoom, retry);
}

/// Takes room for `more` bytes of the body before they are kept. False: there is none, and the request is refused.
bool Connection::GrowBodyRoom(size_t more) {
  if (deferred_) return true;  // it is read to be refused, and short
  // Twice as much, since the memory of a body that grows may be.
  const size_t held = body_room_.bytes(), wanted = 2 * (parser_->request().body.size() + more);
  if (held >= most_body_ || wanted <= held) return true;
  if (body_room_.TrySet(std::min(most_body_, wanted))) return true;
  BeginExchange(route_, false);
  parser_ = nullptr;  // and the body with it
  body_room_ = {};
  Refuse(503, kNoBodyRoom, {{"retry-after", "1"}});
  return false;
}

/// The request is whole: to its handler, or the refusal that waited for its body.
void Connection::Dispatch() {
  const Route* const route = route_;
  if (deferred_) {
    const auto refusal = std::move(deferred_);
    BeginExchange(route, parser_->keep_alive());
    parser_ = nullptr;
    return Refuse(refusal->status, refusal->message, std::move(refusal->headers), refusal->code);
  }
  BeginExchange(route, parser_->keep_alive());
  const auto parser = std::move(parser_);
  const auto exchange = exchange_;
  auto writer = exchange->NewWriter();
  HttpRequest& request = parser->request();
  request.room = std::move(body_room_);
  request.room.Set(request.body.empty() ? 0 : request.body.capacity());  // a chunked body might have had more
  try {
    route->handler(request, std::move(writer));
  } catch (...) {
    // The writer is gone with the stack: the exchange has answered 500, or cut the stream.
  }
}

void Connection::OnPeerEnd() {
  // A request that stops in the middle gets its answer; a client that has closed for good does not mind.
  if (phase_ == Phase::kHeader || phase_ == Phase::kBody) {
    deferred_ = nullptr;
    return RefuseAndClose(400, "The request ends before it is complete.");
  }
  Close();
}

/// While lingering: reads and forgets, so that the kernel does not reset the connection under the last
/// response.
void Connection::DiscardMore() {
  for (int round = 0; round < kMaxRounds; ++round) {
    const ssize_t n = ::recv(socket_.native_handle(), thread_.scratch.data(), thread_.scratch.size(), 0);
    if (n > 0) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return WaitRead();
    return Close();
  }
  WaitRead();
}

}  // namespace hadal
