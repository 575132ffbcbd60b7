// From logits to a token: penalties, temperature, filters, a named draw.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/sampling_params.h"
#include "tensor/buffer.h"

namespace hadal {

/// Room in which one row of logits is worked on: 20 bytes per token of the vocabulary. One per thread that
/// samples, shared by the requests that take turns there; nothing in it outlives a call of Sample.
class SamplerScratch {
 public:
  /// kResourceExhausted if the memory cannot be had.
  static Result<SamplerScratch> Create(int64_t vocab_size);
  static constexpr int64_t Bytes(int64_t vocab_size) { return vocab_size * 20; }
  int64_t vocab_size() const { return logits_.size(); }

 private:
  friend class Sampler;
  Buffer<float> logits_;    // [V] of the candidates, after penalties and bias
  Buffer<int32_t> ids_;     // [V] of the candidates, ascending
  Buffer<double> weights_;  // [V] e^((logit - best) / temperature)
  Buffer<int32_t> select_;  // [V] for rank_select
};

/// Chooses the tokens of one request.
///
/// In this order, each step on what the one before left, after tokens that are not allowed were masked:
///   1. repetition penalty r, tokens of the prompt or generated (arXiv 1909.05858, section 4.1, extended to
///      negative logits as Hugging Face does):  l = l > 0 ? l / r : l * r
///   2. presence and frequency penalty, generated tokens only:  l = l - presence - frequency * count
///   3. l = l + logit_bias
///   4. temperature 0: the highest l, of equals the lowest id. Otherwise  w = e^((l - max l) / temperature)
///   5. top_k: the k highest l, of equals the lowest ids (exactly k, unlike engines that keep all ties)
///   6. min_p (arXiv 2407.01082): w >= min_p; the best token's w is 1
///   7. top_p (arXiv 1904.09751): of what is left, the shortest run of the highest that holds at least top_p
///      of its mass; at least one, of equals the lowest ids
///   8. a draw from w by the uniform number that Philox gives for (seed, position)
///
/// The token depends on the bits of the logits, the parameters, the tokens observed and `position`, and on
/// nothing else: not on earlier draws, the batch, the thread or the machine. Steps 1 to 3 compute in f64 and
/// round to f32 after 2 and after 3; 4 to 8 are f64, summed in a fixed order.
class Sampler {
 public:
  /// kInvalidArgument: see Validate. kResourceExhausted: no memory.
  static Result<Sampler> Create(SamplingParams params, int64_t vocab_size);

  /// Bytes that a request with `params` holds: 4 per token of the vocabulary if it has penalties, else none.
  static int64_t Bytes(const SamplingParams& params, int64_t vocab_size) {
    return params.HasPenalties() ? vocab_size * 4 : 0;
  }

  /// Counts a token for the penalties: each of the prompt, and each chosen token that is kept. O(1).
  void Observe(int32_t token, bool is_prompt);

  /// The token at `position`, its index in the sequence (the prompt's first token is 0).
  ///
  /// @param logits   [V] f32; -inf masks a token.
  /// @param scratch  of the same vocabulary size.
  /// @param allowed  one bit an id, lowest first; other tokens are masked. Empty: all are allowed.
  /// kDataLoss, naming `position`: a logit is NaN or +inf, or all are masked. A wrong size is a bug (CHECK).
  /// Cost: O(V), no allocation unless it fails. Threads: safe for distinct `scratch`, if none observes then.
  Result<int32_t> Sample(std::span<const float> logits, uint64_t position, SamplerScratch& scratch,
                         std::span<const uint64_t> allowed = {}) const;

  const SamplingParams& params() const { return params_; }

 private:
  Sampler(SamplingParams params, int64_t vocab_size) : params_(std::move(params)), vocab_size_(vocab_size) {}
  bool Adjusts() const { return params_.HasPenalties() || !params_.logit_bias.empty(); }
  void Adjust(std::span<float> logits) const;
  float Penalized(float logit, uint32_t seen) const;
  int64_t Filter(float best, SamplerScratch& scratch) const;

  SamplingParams params_;
  int64_t vocab_size_;
  Buffer<uint32_t> seen_;  // [V] if there are penalties: times generated, and kInPrompt
};

}  // namespace hadal
