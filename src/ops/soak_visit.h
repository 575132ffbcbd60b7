// One visitor of the soak test after another, in one slot of its load.
#pragma once

#include <string>
#include <string_view>

#include "ops/answer_stream.h"

namespace hadal {

enum class VisitKind {
  kWhole,       // reads the whole answer
  kLeaves,      // goes away in mid-stream
  kLeavesSoon,  // goes away before anything comes
  kSlow,        // makes pauses, and reads to the end
  kStalls,      // stops reading, then goes away
  kBadJson,
  kBadField,
  kOversize,
  kBadToken,
  kNoTls,  // plain bytes on the TLS port
  kNoRoute,
};
inline constexpr int kVisitKinds = 11;
const char* VisitName(VisitKind kind);

/// Chosen by the seed and the visit's number: 100 visits are about 40 of whole answers, 25 that leave, 13
/// slow ones, and 22 bad ones.
VisitKind DrawVisit(uint64_t seed, uint64_t number);

struct VisitOutcome {
  VisitKind kind = VisitKind::kWhole;
  bool expected = false;   // it ended as its kind must
  bool busy = false;       // the server said 429 or 503, which is allowed
  bool succeeded = false;  // a whole answer came
  std::string what;        // how it ended
};

class Visitor {
 public:
  using Clock = LoadClient::Clock;
  Visitor(LoadClient& client, std::string model, uint64_t seed);

  /// Starts visit `number`; one at a time.
  void Start(uint64_t number);
  bool under_way() const { return id_ != 0; }
  /// When Act wants to be called.
  Clock::time_point due() const { return due_; }
  /// Leaves, or reads on, if it is time.
  void Act(Clock::time_point now);
  void Stop() { client_.Cancel(id_); }

  std::function<void(const VisitOutcome&)> on_end;

 private:
  OutgoingRequest RequestOf(VisitKind kind, uint64_t number) const;
  Reading OnPiece(const AnswerRecord& record) const;
  bool Rests();
  void OnEnd(const AnswerRecord& record);
  uint32_t Draw(uint64_t what) const;

  LoadClient& client_;
  const std::string model_;
  const uint64_t seed_;
  AnswerStream stream_;
  VisitKind kind_ = VisitKind::kWhole;
  uint64_t number_ = 0;
  LoadClient::Id id_ = 0;
  Clock::time_point due_ = Clock::time_point::max();
  uint32_t pauses_ = 0;  // left to make
};

}  // namespace hadal
