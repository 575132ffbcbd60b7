// Continuous batching: one thread that owns the engine and serves any number of requests.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "engine/live_request.h"
#include "engine/prefill_budget.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/speculative.h"
#include "engine/step_cost.h"

namespace hadal {

/// Where guesses at tokens to come are from. They change when tokens come, never which.
enum class Speculation { kOff, kMtp };

struct LoopOptions {
  int64_t max_running = 16;   // requests in one step; at most the engine's logit rows and step tokens
  int64_t max_waiting = 256;  // requests that have not started; more are refused
  bool prefix_cache = true;
  /// Milliseconds between two tokens of a running request that the schedule aims to stay below, by giving
  /// prompts less of each step; 0: no target, prompts get the whole step.
  double target_tpot_ms = 0;
  Speculation speculative = Speculation::kOff;  // kMtp: the engine must have prediction layers loaded
  int64_t speculative_tokens = 1;  // guessed for a request in a step, 1 to kMostDrafts; each may need a row of logits
  /// What a guess costs, as a share of a step: a request whose guesses come true less often pauses them
  /// (GuessControl). 0: it never does; nothing: DecodeCost::GuessShare.
  std::optional<double> guess_cost = {};
  /// Called from the engine thread after each step that succeeded, for metrics: must neither block nor throw.
  std::function<void(const StepRecord&)> on_step = {};
};

/// A consistent snapshot, taken at the end of a step. Counts are since the start.
struct LoopStats {
  int64_t running = 0, waiting = 0;  // requests; a preempted one waits
  int64_t total_blocks = 0;
  int64_t free_blocks = 0;          // held by no request and not by the prefix cache
  int64_t cached_blocks = 0;        // held by the prefix cache alone: given up when blocks are needed
  int64_t prefix_query_tokens = 0;  // of prompts that started
  int64_t prefix_hit_tokens = 0;    // of these, found in the prefix cache
  int64_t preemptions = 0;
  int64_t mask_waits = 0;  // tokens put off to a later step, as the mask of a request's constraint took too long
  int64_t steps = 0, failed_steps = 0;
  int64_t prefill_tokens = 0;  // computed, those computed again after a preemption included
  int64_t generated_tokens = 0;
  int64_t drafted_tokens = 0;   // guessed and computed
  int64_t accepted_tokens = 0;  // of these, became tokens of answers
  int64_t guess_pauses = 0;     // times that a request's guesses were paused, as too few became tokens
  int64_t finished_requests = 0;
  int64_t last_step_requests = 0, last_step_tokens = 0;
  double last_step_seconds = 0;  // forward, sampling and delivery
  int64_t prefill_budget = 0;    // tokens of prompts that a step with decoding requests may take
  bool work_pending = false;     // at the time of asking, as the next
  /// Since the last step ended, or since work arrived if that was later; 0 without work. A loop that makes no
  /// progress is seen here.
  double seconds_since_progress = 0;
};

/// Owns the engine and its thread: receive -> schedule -> forward -> sample -> deliver. What a request gets
/// depends on nothing but the request: the bits are those of Generate, whatever the company, the schedule,
/// the prefix cache and preemption. Submit, Cancel, Drain and stats are safe from any thread.
///
/// Memory: the vectors of a request are taken when it is submitted, those of the loop when it starts; a step
/// allocates nothing unless a request fails.
class EngineLoop {
 public:
  /// Starts the thread. kInvalidArgument: an option is out of range; kResourceExhausted: no memory for
  /// sampling.
  static Result<std::unique_ptr<EngineLoop>> Start(std::unique_ptr<Engine> engine, LoopOptions options);
  /// Bytes beyond the engine's own plan: sampling for each thread, the prefix cache's tokens, the states that
  /// guesses come from, and all requests at their worst: as long as the context, and counting for penalties.
  static uint64_t PlannedBytes(const ModelConfig& config, const StepLimits& limits, int threads,
                               const LoopOptions& options);

  /// Cancels what is left, then ends the thread. Every request has got its last event afterwards.
  ~EngineLoop();
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  /// kInvalidArgument: the prompt is empty, holds unknown ids or leaves no room for a token in the context,
  /// or a parameter is out of range. kResourceExhausted: max_waiting requests wait already (HTTP 429), or
  /// there is no memory. kUnavailable: draining (503). max_tokens may exceed what the context leaves: the
  /// request then ends with kContext.
  Result<RequestId> Submit(GenerationRequest request);

  /// Ends the request before the next step: its blocks are free and its last event (kCancelled) is out when
  /// that step begins. Nothing happens if it has ended or never was.
  void Cancel(RequestId id);
  /// As Cancel, but the request ends as stopped (kStop): the caller has found in its text what ends it. From
  /// `deliver`, no further token comes after the one that is being delivered; so with Cancel.
  void Finish(RequestId id);

  /// Refuses new requests from now on, waits until the others have ended, at the limit cancels those that
  /// have not. Returns when each has got its last event. Not from `deliver`.
  void Drain(std::chrono::milliseconds limit);

  LoopStats stats() const;
  const Engine& engine() const { return *engine_; }
  /// Positions of one sequence at most: the engine's context, or less where its cache blocks hold less.
  int64_t context() const { return context_; }

 private:
  using Clock = std::chrono::steady_clock;
  EngineLoop(std::unique_ptr<Engine> engine, const LoopOptions& options, HashKey key);
  Status Validate(const GenerationRequest& request) const;
  Status CheckOpen() const;

  void Main();
  bool Receive();
  void EndSoon(RequestId id, FinishReason reason);
  void RunStep();
  void BeginStep(const StepPlan& plan);
  void ShareMaskWork(const StepPlan& plan);
  void TakeGuessesBack();
  void DropEnding();
  void MarkStarted(const StepPlan& plan, Clock::time_point now);
  void Sample(const StepPlan& plan, View<const float> logits);
  void Draw(View<const float> logits);
  void Deliver(size_t round);
  void JudgeGuesses();
  void RepeatWaiting();
  void FailStep(const StepPlan& plan, const Error& error);
  void Retire(LiveRequest& request);
  void CountBlocks();
  void Publish(const StepPlan& plan, double seconds, bool succeeded);
  void Report(const StepPlan& plan, double seconds, int64_t experts, int64_t positions) const;
  void CancelAll();

  const LoopOptions options_;
  const std::unique_ptr<Engine> engine_;
  const int64_t context_;

  // The engine thread's.
  PrefixCache cache_;
  Scheduler scheduler_;
  PrefillBudget budget_;
  const DecodeCost cost_;
  RouteCount routes_;  // of steps without prompts, if anybody listens
  std::vector<SamplerScratch> scratch_;         // one a worker
  std::optional<Speculator> speculator_;
  int64_t accepted_ = 0;                        // guesses of the step that were right
  int64_t pauses_ = 0, mask_waits_ = 0;         // that the step brought
  std::vector<LiveRequest*> stepping_;          // the step's; null once they have ended
  std::vector<LiveRequest*> drawing_;           // those of them whose next token's logits are there
  std::vector<LiveRequest*> arrived_, doomed_;  // taken out of inbox_, cancels_

  mutable std::mutex mutex_;         // guards what follows
  std::condition_variable wake_;     // the engine thread: something arrived
  std::condition_variable emptied_;  // Drain: live_ is empty, and what the last step did is counted
  std::unordered_map<RequestId, std::unique_ptr<LiveRequest>> live_;
  std::vector<LiveRequest*> inbox_;    // submitted, not yet seen by the engine thread
  std::vector<LiveRequest*> cancels_;  // each at most once
  int64_t unstarted_ = 0;              // submitted, never scheduled
  RequestId next_id_ = 1;
  bool draining_ = false, stopping_ = false;
  bool working_ = false;  // the engine thread does not wait for work
  LoopStats stats_;
  Clock::time_point progress_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace hadal
