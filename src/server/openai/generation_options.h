// The fields that chats and completions share.
#pragma once

#include "server/api/generation_options.h"

namespace hadal::openai {

using namespace api;

inline constexpr size_t kMaxStopTokenIds = 64;

/// Reads and checks all but logprobs, which the two calls spell differently. Without a seed one is drawn.
/// Fields that ask for what there is not (structured output, a template of the caller's) are refused by name;
/// unknown ones are ignored, as OpenAI does.
ApiResult<GenerationOptions> ReadGenerationOptions(const Fields& fields, const ApiContext& api);

}  // namespace hadal::openai
