// One request from prompt to end: prefill in chunks, then token after token.
#pragma once

#include <functional>

#include "engine/engine.h"
#include "engine/sampler.h"

namespace hadal {

enum class FinishReason {
  kStop,      // an end-of-sequence token, or the caller said so
  kLength,    // max_tokens
  kContext,   // the context is full
  kCancelled, // by EngineLoop::Cancel, or the loop ended; Generate never gives this or the next
  kError,     // the request failed; the error is beside it
};

/// Makes `prompt` the sequence's prompt. What the cache holds of an earlier prompt with the same beginning is kept
/// (tokens that were generated are not: as a prompt they take the other form of attention); the rest is forgotten.
void SetPrompt(Sequence& sequence, std::vector<int32_t> prompt);

/// Computes all pending tokens of each sequence, chunks of all of them in each step; afterwards `logits` holds, in
/// the order of `sequences`, the row of each one's last token ([sequences, vocab]).
Status Prefill(Engine& engine, std::span<Sequence* const> sequences, std::vector<float>& logits);

/// Appends generated tokens to `sequence` until one of `stop_ids` is drawn (not appended, unless params.ignore_eos),
/// max_tokens or the context is reached, or `on_token` returns false. on_token sees each token when it is drawn.
/// The draw for the token at index i is keyed by (params.seed, i), among the ids below scratch.vocab_size().
Result<FinishReason> Generate(Engine& engine, Sequence& sequence, Sampler& sampler, SamplerScratch& scratch,
                              std::span<const int64_t> stop_ids, const std::function<bool(int32_t)>& on_token);

}  // namespace hadal
