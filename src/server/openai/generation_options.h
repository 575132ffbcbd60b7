// The fields that chats and completions share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/openai/api_context.h"
#include "server/openai/json_fields.h"

namespace hadal::openai {

inline constexpr size_t kMaxStopTokenIds = 64;

struct GenerationOptions {
  SamplingParams sampling;  // max_tokens: 0 where the call does not say
  int64_t n = 1;
  int64_t priority = 0;
  int logprobs = -1;  // as GenerationRequest's
  std::vector<int64_t> stop_token_ids;
  bool stream = false;
  bool include_usage = false;  // in the stream
  bool return_token_ids = false;
};

/// Reads and checks all but logprobs, which the two calls spell differently. Without a seed one is drawn.
/// Fields that ask for what there is not (structured output, a template of the caller's) are refused by name;
/// unknown ones are ignored, as OpenAI does.
ApiResult<GenerationOptions> ReadGenerationOptions(const Fields& fields, const ApiContext& api);

/// 404 if `model` is not the one that is served, 400 if it is missing.
ApiStatus CheckModel(const Fields& fields, const ApiContext& api);

/// Fits max_tokens to a prompt of `prompt_tokens`: `absent` where the call does not say (0: all the context
/// leaves). 400 context_length_exceeded if they do not fit.
ApiResult<int64_t> FitMaxTokens(int64_t asked, int64_t absent, size_t prompt_tokens, const ApiContext& api);

}  // namespace hadal::openai
