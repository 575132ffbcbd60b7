// One request's response on its way from any thread to the connection's thread: bounded, thread-safe, never
// blocking.
//
// The handler holds a Writer (made by NewWriter), the connection holds the Exchange; when the last Writer
// goes away unfinished, the Exchange ends the response by itself.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "server/http_response.h"
#include "server/http_types.h"

namespace hadal {

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  /// Of bytes that have not left: of this stream, and of all streams that share `unsent`.
  struct Limits {
    size_t stream_bytes;
    size_t total_bytes;
  };
  // What a stream may have unsent although all together are over their limit: a reader that keeps up is not the
  // one to be cut off.
  static constexpr size_t kFairBytes = 16 << 10;

  /// `wake` is called (from any thread, under the Exchange's lock) when the connection should call Take;
  /// `draining` is read when the head is written: the response then says that the connection closes; `unsent`
  /// has the bytes of all streams, `whole` those of responses that are sent whole: these are never cut off, and a
  /// stream's readers have nothing to do with them. None of them after Close.
  Exchange(ResponseFrame frame, const Limits& limits, std::atomic<size_t>& unsent, ByteRoom& whole,
           const std::atomic<bool>& draining, std::function<void()> wake);

  std::shared_ptr<ResponseWriter> NewWriter();

  // --- for writers, any thread ---
  void Send(int status, HttpHeaders headers, std::string body);
  void StartStream(int status, HttpHeaders headers);
  bool Write(std::string_view chunk);
  void EndStream();
  void OnDisconnect(std::function<void()> callback);
  void Abandon();  // the last writer is gone

  // --- for the connection, its thread ---
  struct Taken {
    std::string bytes;         // to send now
    bool ended = false;        // nothing will follow
    bool cut_off = false;      // the stream was abandoned: send `bytes`, then close without an end
    bool slow_reader = false;  // close at once
  };
  Taken Take();
  /// `bytes` of what Take gave have left.
  void Sent(size_t bytes);
  /// The connection is gone: nothing is taken any more. Fires OnDisconnect unless the response has ended.
  void Close();
  bool keep_alive() const;
  int status() const;
  uint64_t total_bytes() const;
  bool streaming() const;  // whether a stream has been started
  RequestNotes& notes() { return notes_; }

 private:
  void StartLocked(int status, const HttpHeaders& headers, int64_t length);
  void SendLocked(int status, const HttpHeaders& headers, std::string_view body);
  void WakeLocked();
  void CountLocked(size_t bytes);
  void UncountLocked(size_t bytes);
  bool TooMuchLocked(size_t bytes) const;

  RequestNotes notes_;
  const Limits limits_;
  std::atomic<size_t>& all_unsent_;
  ByteRoom& whole_;
  const std::atomic<bool>& draining_;
  mutable std::mutex mutex_;  // guards everything below
  ResponseFrame frame_;
  std::function<void()> wake_;
  std::function<void()> on_disconnect_;
  std::string pending_;
  size_t unsent_ = 0;  // pending_ and what Take gave and Sent has not confirmed
  uint64_t total_ = 0;
  int status_ = 0;  // 0: not started
  bool streaming_ = false, ended_ = false, open_ = true, cut_off_ = false, slow_ = false, woken_ = false;
};

}  // namespace hadal
