// The answering half of Connection: from an Exchange to the socket. http_connection.cc has the other half.
#include <boost/asio/post.hpp>

#include "server/http_connection.h"
#include "server/secrets.h"

namespace hadal {
namespace {

// Writes in one go before the thread's other connections get their turn.
constexpr int kMaxWrites = 32;
// Written bytes are dropped from the front of out_ in steps of this size.
constexpr size_t kCompactBytes = 64 << 10;
// TLS records carry up to 16 KiB.
constexpr size_t kWriteBytes = 16 << 10;

}  // namespace

/// From here on the connection answers; the parser may still be needed by the caller.
void Connection::BeginExchange(const Route* route, bool keep_alive) {
  ResponseFrame frame;
  if (parser_) frame.http_1_0 = parser_->http_1_0();
  if (log_) {
    frame.head_only = log_->method == "HEAD";
    frame.request_id = log_->request_id;
  }
  frame.keep_alive = keep_alive;
  route_ = route;
  response_ended_ = false;
  phase_ = Phase::kResponding;
  SetDeadline(Clock::time_point::max());
  exchange_ = std::make_shared<Exchange>(
      std::move(frame),
      Exchange::Limits{server_.options.max_stream_buffer_bytes, server_.options.max_total_stream_bytes},
      server_.unsent_bytes, *server_.responses, server_.draining,
      [self = shared_from_this()] { asio::post(self->thread_.io, [self] { self->TakeResponse(); }); });
}

void Connection::Refuse(int status, std::string_view message, HttpHeaders headers, std::string_view code) {
  if (status == 204) return exchange_->Send(204, std::move(headers), "");
  headers.emplace_back("content-type", "application/json");
  const auto body = refusal_body_ ? refusal_body_ : RefusalBody{ErrorBody};
  exchange_->Send(status, std::move(headers), body(status, message, code));
}

void Connection::RefuseAndClose(int status, std::string_view message) {
  if (!log_) {
    log_ = std::make_unique<Log>();
    log_->request_id = ChooseRequestId(HttpRequest{});
  }
  BeginExchange(nullptr, false);
  parser_ = nullptr;
  deferred_ = nullptr;
  Refuse(status, message);
}

void Connection::TakeResponse() {
  if (phase_ != Phase::kResponding || !exchange_) return;
  auto taken = exchange_->Take();
  if (taken.slow_reader) {
    ++server_.slow_readers;
    return Close();
  }
  if (!stream_counted_ && exchange_->streaming()) {
    stream_counted_ = true;
    ++server_.streams;
  }
  queued_ += taken.bytes.size();
  if (out_.empty()) {
    out_ = std::move(taken.bytes);
    out_done_ = 0;
  } else {
    out_ += taken.bytes;
  }
  response_ended_ = taken.ended;
  cut_off_ = taken.cut_off;
  WriteMore();
}

void Connection::WriteMore() {
  const auto self = shared_from_this();
  size_t written = 0;
  bool blocked = false;
  for (int round = 0; out_done_ < out_.size(); ++round) {
    if (round == kMaxWrites) {
      blocked = true;
      WaitWrite();  // writable at once: comes back after the thread's other work
      break;
    }
    const auto [outcome, n] = transport_.Write(std::string_view(out_).substr(out_done_, kWriteBytes));
    if (outcome == Transport::Outcome::kOk) {
      out_done_ += n;
      written += n;
      continue;
    }
    if (outcome == Transport::Outcome::kWantWrite) {
      blocked = true;
      WaitWrite();
      break;
    }
    if (outcome == Transport::Outcome::kWantRead) {
      blocked = true;
      WaitRead();
      break;
    }
    return Close();
  }
  sent_ += written;
  if (exchange_ && written > 0) exchange_->Sent(written);
  if (out_done_ == out_.size()) {
    std::string().swap(out_);
    out_done_ = 0;
  } else if (out_done_ >= kCompactBytes) {
    out_.erase(0, out_done_);
    out_done_ = 0;
  }
  if (phase_ != Phase::kResponding) return;
  if (!blocked && cut_off_) return Close();
  if (!blocked) {
    SetDeadline(Clock::time_point::max());
    if (response_ended_) FinishResponse();
  } else if (deadline_ == Clock::time_point::max()) {
    watermark_ = queued_;
    SetDeadline(Clock::now() + server_.options.write_timeout);
  }
}

void Connection::FinishResponse() {
  const bool keep_alive = exchange_->keep_alive() && !server_.draining;
  Report(true);
  exchange_->Close();
  exchange_ = nullptr;
  parser_ = nullptr;
  if (!keep_alive) return Linger();
  phase_ = Phase::kIdle;
  SetDeadline(Clock::now() + server_.options.idle_timeout);
  if (early_.empty() && !read_paused_) return;
  // By way of the queue, so that a long pipeline neither nests calls nor keeps the thread to itself.
  asio::post(thread_.io, [self = shared_from_this()] {
    if (self->phase_ != Phase::kIdle) return;
    std::string early = std::exchange(self->early_, {});
    self->Parse(early);
    Wipe(early);
    if (std::exchange(self->read_paused_, false) && !self->waiting_read_) self->ReadMore();
  });
}

void Connection::Report(bool completed) {
  if (std::exchange(counted_, false)) --server_.in_flight;
  if (std::exchange(stream_counted_, false)) --server_.streams;
  body_room_ = {};
  const auto log = std::move(log_);
  if (!server_.options.observer) return;
  AccessRecord record;
  record.status = exchange_->status() != 0 ? exchange_->status() : 499;
  record.bytes = exchange_->total_bytes();
  record.duration = Clock::now() - request_start_;
  record.completed = completed;
  record.start = request_start_;
  record.notes = &exchange_->notes();
  record.peer = peer_;
  if (route_) record.route = route_->path;
  if (log) {
    record.method = log->method;
    record.request_id = log->request_id;
    record.identity = log->identity.get();
  }
  server_.options.observer(record);
}

void Connection::Linger() {
  phase_ = Phase::kLinger;
  Wipe(early_);
  std::string().swap(early_);
  transport_.ShutdownWrite();
  SetDeadline(Clock::now() + server_.options.linger_timeout);
  if (!waiting_read_) DiscardMore();
}

}  // namespace hadal
