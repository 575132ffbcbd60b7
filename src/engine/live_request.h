// A request inside the engine loop: what was asked, how far it is, and the event of its latest token.
#pragma once

#include <chrono>
#include <memory>

#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace hadal {

struct LiveRequest : ScheduledRequest {
  /// Takes all memory that the request will need. kInvalidArgument: parameters out of range;
  /// kResourceExhausted: no memory. `request.prompt` is moved from. block_table is reserved for `context`
  /// positions.
  static Result<std::unique_ptr<LiveRequest>> Create(GenerationRequest request, int64_t vocab_size,
                                                     int64_t context, int64_t block_size);

  RequestId id() const { return arrival; }

  /// Chooses the next token from the logits [V] of the last one, into `event`; an error ends the request.
  /// Threads: safe for distinct requests and `scratch`.
  void Draw(std::span<const float> logits, SamplerScratch& scratch);
  /// Appends the token that was drawn, or ends the request: by a stop token, max_tokens or the context.
  void Accept(int64_t context);
  /// Makes `event` the last one, without a token.
  void End(FinishReason reason);
  void Fail(Error error);

  GenerationRequest request;
  Sampler sampler;
  Usage usage;
  TokenEvent event;
  std::chrono::steady_clock::time_point submitted;
  bool cancelled = false;  // the loop's mutex guards it

 private:
  LiveRequest(GenerationRequest asked, Sampler made) : request(std::move(asked)), sampler(std::move(made)) {}
};

}  // namespace hadal
