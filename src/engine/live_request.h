// A request inside the engine loop: what was asked, how far it is, and the event of its latest token.
#pragma once

#include <array>
#include <chrono>
#include <memory>

#include "engine/guess_control.h"
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

  /// Chooses the next token from the logits [V] of the last one, into `event`; an error ends the request. Where the
  /// constraint takes more than mask_work, nothing is chosen and `waits` is set: the last token is to be computed again.
  /// Threads: safe for distinct requests and `scratch`.
  void Draw(std::span<const float> logits, SamplerScratch& scratch);
  /// What Draw would choose next if `logits` were the model's, and the tokens so far those drawn; -1 if nothing. With
  /// a constraint the tokens so far are those drawn: it cannot say what may follow a guess.
  int32_t Guess(std::span<const float> logits, SamplerScratch& scratch);
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
  bool ending = false;  // by Cancel or Finish; the loop's mutex guards it and the next
  FinishReason ends_with = FinishReason::kCancelled;

  // Of the step that is under way: work that the constraint may still do, whether it needs more; where the step began,
  // and what Speculator guessed.
  int64_t mask_work = 0;
  bool waits = false;
  int64_t again = -1;  // index of the last token where it was computed before and is computed again; -1: it is not
  int64_t step_begin = 0;  // sequence.computed before it
  int64_t guessed = 0, right = 0;  // and how many of the guesses became tokens
  std::array<int32_t, kMostDrafts> guesses{};
  int64_t guess_row = 0;  // in the prediction layer's latest pass
  GuessControl guess_control{0, 0};

 private:
  LiveRequest(GenerationRequest asked, Sampler made) : request(std::move(asked)), sampler(std::move(made)) {}
};

}  // namespace hadal
