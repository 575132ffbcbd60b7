// POST /v1/completions: the call, read and checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/openai/generation_options.h"

namespace hadal::openai {

struct CompletionRequest {
  GenerationOptions options;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::string> echoes;  // one a prompt, if the prompts are to be sent back
};

/// Text prompts are encoded with markers as tokens, since the prompt is all the caller's, and the model's
/// first token is put before them unless it is there.
ApiResult<CompletionRequest> ReadCompletionRequest(const Fields& fields, const ApiContext& api);

/// The ids of a text prompt.
ApiResult<std::vector<int32_t>> EncodeTextPrompt(const ApiContext& api, std::string_view text, bool add_bos);

/// Checks that an id names a token.
ApiStatus CheckTokenId(const ApiContext& api, Json value, std::string_view place, int32_t& id);

}  // namespace hadal::openai
