// One call of the API on its way: its choices run as generation requests, their tokens become the response.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/grammar/program.h"
#include "server/api/api_context.h"
#include "server/api/choice_text.h"
#include "server/api/generation_options.h"
#include "server/api/response.h"

namespace hadal::api {

/// A call, understood: what Call runs.
struct CallPlan {
  GenerationOptions options;  // sampling.max_tokens: per prompt, below
  OutputParser::Options parser = {};
  std::unique_ptr<Response> response = {};
  struct Prompt {
    std::vector<int32_t> ids;
    int64_t max_tokens = 0;
    std::string echo;  // put before each of its choices' texts
  };
  std::vector<Prompt> prompts = {};  // each answered options.n times; choice i of a prompt has seed + i
  std::shared_ptr<const Identity> identity = {};  // whose call it is; may be null
  std::shared_ptr<const grammar::Program> form = {};  // that each choice is held to; null: none
};

/// Starts the call and returns; the response is written as tokens come, from the engine's thread. When a
/// request can't be submitted (queue full: 429, draining: 503) the others are cancelled and the error is the
/// response. When the client goes away or reads too slowly, and for a choice whose stop string is complete,
/// the request is cancelled at once. `api` outlives the engine's requests.
void StartCall(const ApiContext& api, CallPlan plan, std::shared_ptr<ResponseWriter> writer);

}  // namespace hadal::api
