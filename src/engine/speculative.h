// Guesses of the tokens to come, by the model's prediction layer (MTP; arXiv 2412.19437, section 2.2).
#pragma once

#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/live_request.h"

namespace hadal {

/// Before a step, Guess lengthens sequences by tokens that the prediction layer expects; the step computes them
/// like generated ones, and each that turns out to be the token drawn saves a step. Guesses never decide a
/// token: they are compared with what is drawn from the model's own logits, row by row.
///
/// A guess is what the request's sampler would draw at that position if the prediction layer's logits were the
/// model's: same seed, same penalties and bias. Where the two distributions are close, so are the draws, at any
/// temperature.
///
/// The layer's latent of position p needs the state of p and the token at p + 1; it lies in the cache at p + 1
/// (see KvCache), and its state is kept for each block's last computed position. So a latent, hence a guess,
/// depends on its request's tokens and roles alone: not on whose block it shares, on chunking or preemption.
///
/// One prediction layer guesses one token. Further ones come from the same layer, fed with its own state after
/// its norm; a model's second prediction layer is not used.
///
/// For the engine thread. Allocates nothing after Create.
class Speculator {
 public:
  /// `engine`, which has a prediction layer loaded, must outlive it. kResourceExhausted: no memory.
  static Result<Speculator> Create(Engine& engine, int64_t max_running);
  static uint64_t PlannedBytes(const ModelConfig& config, const StepLimits& limits);

  /// Appends `guessed` tokens to each request's sequence and notes them in `guesses`. All but its last token are
  /// computed, with Keep and KeepGuessed after each step, and its block table covers what it is to have. Where the layer gives
  /// no numbers the last token is repeated. scratch: one a worker.
  void Guess(std::span<LiveRequest* const> requests, std::span<SamplerScratch> scratch);

  /// After engine.RunStep and before another pass: brings the layer's cache and states up to what the step computed
  /// of each request without guesses, and notes the states of the others. Afterwards these requests' blocks are
  /// complete: they may be shared, and the requests may end.
  void Keep(std::span<LiveRequest* const> requests);
  /// After the tokens are drawn: the same of the requests with guesses, up to sequence.computed. Null requests
  /// are skipped.
  void KeepGuessed(std::span<LiveRequest* const> requests);

 private:
  Speculator(Engine& engine, int64_t max_running);
  void GatherStates(int64_t depth);
  void GuessNext(int64_t depth, std::span<SamplerScratch> scratch);
  const float* State(const LiveRequest& request, int64_t position) const;
  void AddToKeep(const LiveRequest& request);
  void SaveStates(const LiveRequest& request);
  void CacheKept();
  float* LastState(const Sequence& sequence, int64_t position) const;

  Engine* engine_;
  int64_t hidden_, block_size_;
  Buffer<float> states_;  // [step tokens, d] of a pass's rows; behind those of Keep, the ones noted for KeepGuessed
  Buffer<float> last_;    // [blocks, d] after the final norm, of the last computed position in each block
  Step step_;
  std::vector<LiveRequest*> guessing_;  // those that want a guess of the current depth or deeper
};

}  // namespace hadal
