// The stream of one chat completion, as it comes, turned into an Answer.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cli/chat.h"
#include "ops/sse_parser.h"

namespace hadal {

/// The sentence for a response that is no answer: what the service says, and what to do about it.
tl::unexpected<Error> RefusalOf(int http_status, std::string_view body);

class RemoteAnswer {
 public:
  /// `show` outlives it.
  explicit RemoteAnswer(const ShowPiece& show) : show_(show) {}

  /// A response begins; what came of one before it is forgotten.
  void Begin(int http_status);
  /// The next bytes of the body. False: no more are wanted; status() says why.
  bool Feed(std::string_view bytes);
  /// An error of the stream or of `show`.
  const Status& status() const { return status_; }
  /// The answer, when all has come or the user stopped it. The refusal of a response other than 200;
  /// kDataLoss: the stream ended before the answer did.
  Result<Answer> Finish(bool interrupted) &&;

 private:
  bool OnEvent(std::string_view data);
  Status OnDelta(const nlohmann::ordered_json& choice);

  const ShowPiece& show_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int http_status_ = 0;
  std::string refusal_;  // the body of a response other than 200, its first bytes
  SseParser parser_;
  Answer answer_;
  bool ended_ = false;  // the stream's own end was there
  Status status_;
};

}  // namespace hadal
