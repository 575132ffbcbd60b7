// What a request asks of the choice of tokens, and the ranges it must keep.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hadal {

// OpenAI ends at 2; sampling with min_p is in use well above that, and past 100 every distribution is flat.
inline constexpr double kMaxTemperature = 100;
// Repetition penalties in use lie in 1 to 2. The bounds keep a penalised logit a finite float.
inline constexpr double kMinRepetitionPenalty = 0.01;
inline constexpr double kMaxRepetitionPenalty = 100;
// Presence and frequency penalties, both signs, and logit_bias, both signs: as the OpenAI API has them.
inline constexpr double kMaxPenalty = 2;
inline constexpr float kMaxLogitBias = 100;
inline constexpr int64_t kMaxLogitBiasEntries = 1024;
inline constexpr int64_t kMaxMaxTokens = std::numeric_limits<int32_t>::max();

/// How tokens are chosen and when a generation ends. The defaults sample from the model's own distribution.
struct SamplingParams {
  double temperature = 1;         // 0 to 100; 0: greedy
  int64_t top_k = 0;              // keep the k likeliest tokens; 0 or -1: off
  double top_p = 1;               // 0 to 1: keep the likeliest tokens until they hold this mass; 1: off
  double min_p = 0;               // 0 to 1: keep tokens with this share of the best probability; 0: off
  double repetition_penalty = 1;  // 0.01 to 100; 1: off; over prompt and generated tokens
  double presence_penalty = 0;    // -2 to 2; over generated tokens
  double frequency_penalty = 0;   // -2 to 2; times the count among generated tokens
  std::vector<std::pair<int32_t, float>> logit_bias;  // (token id, -100 to 100); an id at most once
  std::vector<std::string> stop;  // the text ends before the first of these; see ValidateStopStrings
  int64_t max_tokens = 16;        // 1 to 2^31 - 1; the context's length is checked where it is known
  uint64_t seed = 0;              // the same seed, prompt and parameters give the same tokens
  bool ignore_eos = false;        // generate past the end-of-sequence token, for benchmarks

  bool HasPenalties() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

/// Whether every field is in its range, NaN being in none. kInvalidArgument names the first field that is
/// not, its value and the range. `vocab_size`: number of token ids that logits are given for, at least 1.
Status Validate(const SamplingParams& params, int64_t vocab_size);

}  // namespace hadal
