// What a caller asks of the engine loop, and what it gets back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/generate.h"
#include "engine/sampling_params.h"
#include "engine/token_constraint.h"

namespace hadal {

/// Numbers the requests of a loop in order of arrival, from 1.
using RequestId = uint64_t;

// As the OpenAI API has it.
inline constexpr int kMaxTopLogprobs = 20;

/// One per token, in order; the last of a request has `finished`.
struct TokenEvent {
  /// -1 where the last event brings no token: the request ended by a stop token, was cancelled or failed.
  int32_t token = -1;
  /// Natural logarithm of the token's probability under the model's own distribution, before penalties, bias,
  /// temperature and filters; 0 unless asked for.
  double logprob = 0;
  /// The asked-for likeliest tokens under the same distribution, descending, of equals the lower id first.
  std::vector<std::pair<int32_t, double>> top;
  bool finished = false;
  FinishReason reason = FinishReason::kStop;  // with finished
  Error error{Code::kInternal, {}};           // with FinishReason::kError
};

/// What a request has cost so far.
struct Usage {
  int64_t prompt = 0;        // tokens of the prompt
  int64_t cached = 0;        // of these, found in the prefix cache when the request started
  int64_t generated = 0;     // tokens delivered; a stop token is not one
  double queue_seconds = 0;  // from Submit to the schedule that started the request
};

struct GenerationRequest {
  std::vector<int32_t> prompt;
  SamplingParams params;          // params.stop is the caller's business: the loop knows no text
  std::vector<int64_t> stop_ids;  // ends the request unless params.ignore_eos
  int64_t priority = 0;           // higher first; ties in order of arrival
  int logprobs = -1;              // -1: none; 0 to 20: the token's, and those of that many likeliest tokens
  /// Called from the engine thread, in order. Must neither block nor throw; may call Submit and Cancel. The
  /// event is valid during the call.
  std::function<void(const TokenEvent&, const Usage&)> deliver;
  /// What the tokens may be; null: anything. The request's alone. Log-probabilities stay the model's own.
  std::shared_ptr<TokenConstraint> constraint = nullptr;
};

}  // namespace hadal
