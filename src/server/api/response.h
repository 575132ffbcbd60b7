// What a call yields, and how one API words it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "server/api/api_error.h"
#include "text/output_parser.h"

namespace hadal::api {

struct TokenLogprob {
  int32_t token = -1;
  double logprob = 0;
  std::vector<std::pair<int32_t, double>> top;
  int64_t text_offset = 0;  // characters of the choice's tokens before this one
};

/// Why a choice is complete.
enum class Ending {
  kStop,        // a stop token
  kStopString,  // a string of the call's
  kToolCalls,   // as kStop or kStopString, after at least one tool call
  kLength,      // max_tokens or the context
};

/// One choice: all of it, or what is new since the last piece.
struct ChoiceOutput {
  int64_t index = 0;
  bool first = true;       // of a stream: nothing was sent yet
  int64_t first_call = 0;  // index of calls[0] among the choice's tool calls
  OutputParser::Delta text;
  std::vector<std::string> call_ids;  // one a call
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprob> logprobs;
  std::optional<Ending> ending;  // nothing: it goes on
  std::string stop;              // with kStopString: which
};

/// Writes one call's answer, whole or as the events of a stream. Used by one thread at a time; in a stream it
/// may remember what it has written.
class Response {
 public:
  virtual ~Response() = default;

  virtual std::string Whole(std::span<const ChoiceOutput> choices, const Usage& total) = 0;
  /// The events that bring a piece of a stream. `usage`: the choice's so far.
  virtual std::string Piece(const ChoiceOutput& choice, const Usage& usage) = 0;
  /// The events after the last choice has ended.
  virtual std::string End(const Usage& total) = 0;
  /// The last event of a stream that fails: its status is out already.
  virtual std::string ErrorEvent(const ApiError& error) = 0;
  virtual ErrorFormat error_format() const = 0;
  /// What the ids of tool calls begin with.
  virtual std::string_view call_id_prefix() const = 0;
};

}  // namespace hadal::api
