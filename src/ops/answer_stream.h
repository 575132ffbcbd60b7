// One streamed answer as it comes in: when its tokens came, how many, how it ended.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "ops/load_client.h"
#include "ops/sse_parser.h"
#include "ops/stream_event.h"

namespace hadal {

/// What is known of a request when it has ended. Times are of one steady clock.
struct AnswerRecord {
  using Clock = LoadClient::Clock;
  Clock::time_point intended;  // when it should have been sent: latency counts from here
  Clock::time_point sent;
  Clock::time_point first, last;  // events with something of the answer; `first` unset: none came
  Clock::time_point end;          // [DONE], or the end of the response
  int64_t events = 0;             // with something of the answer
  TokenUsage usage;
  std::string
      error;  // kind of failure: "connect", "http 429", "error event", "cut off", ...; empty: it went well
  std::string detail;    // the server's or libcurl's sentence
  bool stopped = false;  // by us

  /// Generated tokens: what the server counted, else events.
  int64_t tokens() const { return usage.generated >= 0 ? usage.generated : events; }
};

/// Reads one response; may be used for one after another.
class AnswerStream : public Receiver {
 public:
  using Clock = LoadClient::Clock;
  static constexpr size_t kMaxRefusalBytes = size_t{64} << 10;

  /// Called for each event with something of the answer; its return value is OnBytes'. Null: go on.
  std::function<Reading(const AnswerRecord&, const StreamEvent&, Clock::time_point)> on_piece;
  /// Asked before bytes are read; true: not now, they come again after LoadClient::Resume. Null: never.
  std::function<bool()> rests;
  /// Called with the finished record.
  std::function<void(const AnswerRecord&)> on_end;

  /// Forgets the last response. The request is sent now.
  void Begin(Clock::time_point intended, Clock::time_point now);

  Reading OnBytes(int status, std::string_view bytes) override;
  void OnEnd(const TransferEnd& end) override;

 private:
  bool TakeEvent(std::string_view data);
  void Fail(std::string kind, std::string detail);

  AnswerRecord record_;
  SseParser parser_;
  StreamEventParser event_parser_;
  std::string refusal_;  // the body, where the status is not 200
  Clock::time_point now_;
  Reading reading_ = Reading::kGoOn;
  bool finished_ = false;  // a finish_reason came
  bool done_ = false;      // [DONE] came
};

}  // namespace hadal
