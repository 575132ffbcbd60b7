#include "server/http_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace hadal {
namespace {

class Writer final : public ResponseWriter {
 public:
  explicit Writer(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~Writer() override { exchange_->Abandon(); }
  void Send(int status, HttpHeaders headers, std::string body) override {
    exchange_->Send(status, std::move(headers), std::move(body));
  }
  void StartStream(int status, HttpHeaders headers) override {
    exchange_->StartStream(status, std::move(headers));
  }
  bool Write(std::string chunk) override { return exchange_->Write(chunk); }
  void EndStream() override { exchange_->EndStream(); }
  void OnDisconnect(std::function<void()> callback) override { exchange_->OnDisconnect(std::move(callback)); }
  RequestNotes* notes() override { return &exchange_->notes(); }

 private:
  std::shared_ptr<Exchange> exchange_;
};

}  // namespace

Exchange::Exchange(ResponseFrame frame, const Limits& limits, std::atomic<size_t>& unsent, ByteRoom& whole,
                   const std::atomic<bool>& draining, std::function<void()> wake)
    : limits_(limits),
      all_unsent_(unsent),
      whole_(whole),
      draining_(draining),
      frame_(std::move(frame)),
      wake_(std::move(wake)) {}

std::shared_ptr<ResponseWriter> Exchange::NewWriter() { return std::make_shared<Writer>(shared_from_this()); }

void Exchange::WakeLocked() {
  if (!open_ || woken_) return;
  woken_ = true;
  wake_();
}

/// `bytes` more wait in pending_.
void Exchange::CountLocked(size_t bytes) {
  unsent_ += bytes;
  total_ += bytes;
  if (streaming_)
    all_unsent_ += bytes;
  else
    whole_.Add(bytes);
}

void Exchange::UncountLocked(size_t bytes) {
  unsent_ -= bytes;
  if (streaming_)
    all_unsent_ -= bytes;
  else
    whole_.Remove(bytes);
}

/// Whether the reader is too slow for `bytes` more.
bool Exchange::TooMuchLocked(size_t bytes) const {
  const size_t unsent = unsent_ + bytes;
  return unsent > limits_.stream_bytes || (unsent > kFairBytes && all_unsent_ + bytes > limits_.total_bytes);
}

/// Puts the head into pending_; a head that would smuggle headers in becomes a 500.
void Exchange::StartLocked(int status, const HttpHeaders& headers, int64_t length) {
  // Without chunks the end of the body is the end of the connection.
  if ((length < 0 && frame_.http_1_0) || draining_) frame_.keep_alive = false;
  pending_ += FormatHead(frame_, status, headers, length);
  status_ = status;
}

void Exchange::SendLocked(int status, const HttpHeaders& headers, std::string_view body) {
  StartLocked(status, headers, static_cast<int64_t>(body.size()));
  if (!frame_.head_only && status != 204 && status != 304) pending_ += body;
  ended_ = true;
  on_disconnect_ = nullptr;
  CountLocked(pending_.size());
  WakeLocked();
}

void Exchange::Send(int status, HttpHeaders headers, std::string body) {
  std::function<void()> dropped;  // destroyed after the lock: what a callback holds may come back to us
  std::lock_guard lock(mutex_);
  if (!open_ || status_ != 0) return;
  dropped = std::move(on_disconnect_);
  on_disconnect_ = nullptr;
  if (!ValidHeaders(headers)) {
    const HttpHeaders json = {{"content-type", "application/json"}};
    SendLocked(500, json, ErrorBody(500, "The server made a response that it must not send."));
    return;
  }
  SendLocked(status, headers, body);
}

void Exchange::StartStream(int status, HttpHeaders headers) {
  std::lock_guard lock(mutex_);
  if (!open_ || status_ != 0) return;
  if (!ValidHeaders(headers)) {
    const HttpHeaders json = {{"content-type", "application/json"}};
    SendLocked(500, json, ErrorBody(500, "The server made a response that it must not send."));
    return;
  }
  StartLocked(status, headers, -1);
  streaming_ = true;
  CountLocked(pending_.size());
  WakeLocked();
}

bool Exchange::Write(std::string_view chunk) {
  std::lock_guard lock(mutex_);
  if (!open_ || !streaming_ || ended_ || cut_off_ || frame_.head_only) return false;
  if (chunk.empty()) return true;  // an empty chunk would end the body
  if (TooMuchLocked(chunk.size())) {
    cut_off_ = slow_ = true;
    WakeLocked();
    return false;
  }
  const size_t before = pending_.size();
  if (frame_.http_1_0) {
    pending_ += chunk;
  } else {
    fmt::format_to(std::back_inserter(pending_), "{:x}\r\n", chunk.size());
    pending_.append(chunk).append("\r\n");
  }
  CountLocked(pending_.size() - before);
  WakeLocked();
  return true;
}

void Exchange::EndStream() {
  std::function<void()> dropped;
  std::lock_guard lock(mutex_);
  if (!open_ || !streaming_ || ended_ || cut_off_) return;
  dropped = std::move(on_disconnect_);
  on_disconnect_ = nullptr;
  if (!frame_.http_1_0 && !frame_.head_only) {
    pending_ += "0\r\n\r\n";
    CountLocked(5);
  }
  ended_ = true;
  WakeLocked();
}

void Exchange::OnDisconnect(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (open_) {
      std::swap(on_disconnect_, callback);
      return;  // a callback set before is destroyed with `callback`, after the lock
    }
  }
  callback();
}

void Exchange::Abandon() {
  std::function<void()> dropped;  // nobody is left whom it could concern
  std::lock_guard lock(mutex_);
  dropped = std::move(on_disconnect_);
  on_disconnect_ = nullptr;
  if (!open_ || ended_) return;
  if (status_ == 0) {
    const HttpHeaders json = {{"content-type", "application/json"}};
    SendLocked(500, json, ErrorBody(500, "The server gave up on this request."));
  } else {
    cut_off_ = true;
    WakeLocked();
  }
}

Exchange::Taken Exchange::Take() {
  std::lock_guard lock(mutex_);
  woken_ = false;
  Taken taken{std::move(pending_), ended_, cut_off_, slow_};
  pending_ = {};
  return taken;
}

void Exchange::Sent(size_t bytes) {
  std::lock_guard lock(mutex_);
  if (!open_) return;
  UncountLocked(std::min(bytes, unsent_));
}

void Exchange::Close() {
  std::function<void()> callback, wake;
  {
    std::lock_guard lock(mutex_);
    if (!open_) return;
    open_ = false;
    std::swap(callback, on_disconnect_);
    std::swap(wake, wake_);  // holds the connection
    pending_ = {};
    UncountLocked(unsent_);
    if (ended_) callback = nullptr;
  }
  if (callback) callback();
}

bool Exchange::keep_alive() const {
  std::lock_guard lock(mutex_);
  return frame_.keep_alive;
}

int Exchange::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

bool Exchange::streaming() const {
  std::lock_guard lock(mutex_);
  return streaming_;
}

uint64_t Exchange::total_bytes() const {
  std::lock_guard lock(mutex_);
  return total_;
}

}  // namespace hadal
