// How a call is to be answered, in whichever API it came; and the checks that every API makes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/api/api_context.h"
#include "server/api/json_fields.h"
#include "server/api/output_spec.h"

namespace hadal::api {

struct GenerationOptions {
  SamplingParams sampling;  // max_tokens: 0 where the call does not say
  int64_t n = 1;
  int64_t priority = 0;
  int logprobs = -1;  // as GenerationRequest's
  std::vector<int64_t> stop_token_ids;
  bool stream = false;
  bool include_usage = false;  // in the stream
  bool return_token_ids = false;
  OutputSpec output = {};  // the form of the answer
};

/// 404 if `model` is not the one that is served, 400 if it is missing.
ApiStatus CheckModel(const Fields& fields, const ApiContext& api);

/// Fits max_tokens to a prompt of `prompt_tokens`: `absent` where the call does not say (0: all the context
/// leaves). 400 context_length_exceeded if they do not fit.
ApiResult<int64_t> FitMaxTokens(int64_t asked, int64_t absent, size_t prompt_tokens, const ApiContext& api);

}  // namespace hadal::api
