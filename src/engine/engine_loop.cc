#include "engine/engine_loop.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

// Of constraints, on each thread in each step: 4 to 10 ms. A mask that takes longer comes a step or more
// later, so that nobody waits for another's grammar.
constexpr int64_t kMaskWork = 2'000'000;

// What bounds the queues keeps a wrong setting from reserving the machine's memory.
constexpr int64_t kMostRequests = 1 << 20;

/// Cached positions that the slices' sequences attend to, each sequence's once.
int64_t CountPositions(const StepPlan& plan) {
  int64_t positions = 0;
  for (const Slice& slice : plan.slices) positions += slice.sequence->computed + slice.count;
  return positions;
}

double Seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

SchedulerOptions ForScheduler(Engine& engine, const LoopOptions& options, int64_t context) {
  const StepLimits& limits = engine.pass().limits();
  return {.step_tokens = limits.tokens,
          .max_running = options.max_running,
          .max_requests = options.max_running + options.max_waiting,
          .context = context,
          .block_size = limits.block_size,
          .drafts = options.speculative == Speculation::kOff ? 0 : options.speculative_tokens,
          .logit_rows = limits.logit_rows};
}

Status CheckOptions(Engine& engine, const LoopOptions& options) {
  const StepLimits& limits = engine.pass().limits();
  const int64_t most = std::min(limits.logit_rows, limits.tokens);
  if (options.max_running < 1 || options.max_running > most)
    return InvalidArgument(
        "max_running is {}; it must be from 1 to {} (the engine's logit rows and step tokens)",
        options.max_running, most);
  if (options.max_waiting < 1 || options.max_waiting > kMostRequests)
    return InvalidArgument("max_waiting is {}; it must be from 1 to {}", options.max_waiting, kMostRequests);
  if (!(options.target_tpot_ms >= 0 && options.target_tpot_ms <= 1e6))
    return InvalidArgument(
        "target_tpot_ms is {}; it must be a number of milliseconds from 0 (no target) to 1000000",
        options.target_tpot_ms);
  if (options.speculative == Speculation::kOff) return {};
  if (engine.weights().mtp.empty())
    return Unsupported("speculative decoding with MTP needs the model's prediction layers, and none is loaded "
                       "(config.json: num_nextn_predict_layers = {})",
                       engine.config().num_nextn_predict_layers);
  if (options.guess_cost && !(*options.guess_cost >= 0 && *options.guess_cost <= 1))
    return InvalidArgument("guess_cost is {}; it must be a share of a step, from 0 to 1", *options.guess_cost);
  if (options.speculative_tokens < 1 || options.speculative_tokens > kMostDrafts)
    return InvalidArgument("speculative_tokens is {}; it must be from 1 to {}", options.speculative_tokens,
                           kMostDrafts);
  return {};
}

}  // namespace

Result<std::unique_ptr<EngineLoop>> EngineLoop::Start(std::unique_ptr<Engine> engine, LoopOptions options) {
  RETURN_IF_ERROR(CheckOptions(*engine, options));
  ASSIGN_OR_RETURN(const HashKey key, RandomHashKey());
  std::unique_ptr<EngineLoop> loop(new EngineLoop(std::move(engine), options, key));
  for (int i = 0; i < loop->engine_->threads().threads(); ++i) {
    ASSIGN_OR_RETURN(SamplerScratch scratch, SamplerScratch::Create(loop->engine_->config().vocab_size));
    loop->scratch_.push_back(std::move(scratch));
  }
  if (options.speculative == Speculation::kMtp) {
    ASSIGN_OR_RETURN(Speculator speculator, Speculator::Create(*loop->engine_, options.max_running));
    loop->speculator_.emplace(std::move(speculator));
  }
  loop->thread_ = std::thread(&EngineLoop::Main, loop.get());
  return loop;
}

uint64_t EngineLoop::PlannedBytes(const ModelConfig& config, const StepLimits& limits, int threads,
                                  const LoopOptions& options) {
  SamplingParams penalised;
  penalised.presence_penalty = 1;
  const int64_t blocks = limits.blocks(), table = (limits.context + limits.block_size - 1) / limits.block_size;
  const int64_t request = Sampler::Bytes(penalised, config.vocab_size) +
                          limits.context * static_cast<int64_t>(sizeof(int32_t)) +
                          table * static_cast<int64_t>(sizeof(int32_t) + sizeof(BlockHash)) +
                          static_cast<int64_t>(sizeof(LiveRequest));
  uint64_t bytes = static_cast<uint64_t>(threads * SamplerScratch::Bytes(config.vocab_size) +
                                         (options.max_running + options.max_waiting) * request);
  if (options.prefix_cache) bytes += PrefixCache::PlannedBytes(blocks, limits.block_size);
  if (options.speculative != Speculation::kOff) bytes += Speculator::PlannedBytes(config, limits);
  return bytes;
}

EngineLoop::EngineLoop(std::unique_ptr<Engine> engine, const LoopOptions& options, HashKey key)
    : options_(options),
      engine_(std::move(engine)),
      context_(
          std::min(engine_->context(), engine_->blocks().blocks() * engine_->pass().limits().block_size)),
      cache_(engine_->blocks(), engine_->pass().limits().block_size, options.prefix_cache, key),
      scheduler_(ForScheduler(*engine_, options, context_), cache_),
      budget_(engine_->pass().limits().tokens, options.target_tpot_ms / 1000),
      cost_(engine_->config(), engine_->weights(), engine_->pass().cache()),
      routes_(engine_->config().n_routed_experts),
      progress_(Clock::now()) {
  const size_t running = static_cast<size_t>(options.max_running);
  const size_t all = running + static_cast<size_t>(options.max_waiting);
  stepping_.reserve(running);
  drawing_.reserve(running);
  for (auto* queue : {&arrived_, &doomed_, &inbox_, &cancels_}) queue->reserve(all);
  live_.reserve(all);
  stats_.total_blocks = stats_.free_blocks = engine_->blocks().blocks();
  stats_.prefill_budget = budget_.tokens();
}

EngineLoop::~EngineLoop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    draining_ = stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Status EngineLoop::CheckOpen() const {
  if (draining_) return Unavailable("the service is shutting down and takes no new requests");
  if (unstarted_ >= options_.max_waiting)
    return ResourceExhausted(
        "{} requests are waiting already, which is the limit (max_waiting); try again later", unstarted_);
  return {};
}

Status EngineLoop::Validate(const GenerationRequest& request) const {
  HADAL_CHECK(request.deliver != nullptr, "a request without a receiver");
  if (request.prompt.empty()) return InvalidArgument("the prompt has no tokens; it must have at least one");
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  if (length >= context_)
    return InvalidArgument(
        "the prompt has {} tokens and the context holds {}, prompt and answer together; shorten the "
        "prompt to at most {} tokens",
        length, context_, context_ - 1);
  if (request.logprobs < -1 || request.logprobs > kMaxTopLogprobs)
    return InvalidArgument("top_logprobs is {}; it must be from 0 to {}", request.logprobs, kMaxTopLogprobs);
  return engine_->CheckTokens(request.prompt);
}

Result<RequestId> EngineLoop::Submit(GenerationRequest request) {
  {
    // Asked twice, so that a full queue costs nothing more than saying so.
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckOpen());
  }
  RETURN_IF_ERROR(Validate(request));
  ASSIGN_OR_RETURN(std::unique_ptr<LiveRequest> live,
                   LiveRequest::Create(std::move(request), engine_->config().vocab_size, context_,
                                       engine_->pass().limits().block_size));
  live->hashes = cache_.Hashes(live->sequence.tokens);
  if (options_.speculative != Speculation::kOff) {
    const int64_t most = live->request.constraint ? 1 : options_.speculative_tokens;
    live->guess_control = GuessControl(most, options_.guess_cost.value_or(cost_.GuessShare()));
    live->most_drafts = most;
  }

  RequestId id;
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckOpen());
    id = live->arrival = next_id_++;
    live->submitted = Clock::now();
    if (live_.empty()) progress_ = live->submitted;
    inbox_.push_back(live.get());
    live_.emplace(id, std::move(live));
    ++unstarted_;
  }
  wake_.notify_one();
  return id;
}

void EngineLoop::Cancel(RequestId id) { EndSoon(id, FinishReason::kCancelled); }

void EngineLoop::Finish(RequestId id) { EndSoon(id, FinishReason::kStop); }

void EngineLoop::EndSoon(RequestId id, FinishReason reason) {
  {
    std::lock_guard lock(mutex_);
    const auto found = live_.find(id);
    if (found == live_.end() || found->second->ending) return;
    found->second->ending = true;
    found->second->ends_with = reason;
    cancels_.push_back(found->second.get());
  }
  wake_.notify_one();
}

void EngineLoop::Drain(std::chrono::milliseconds limit) {
  HADAL_CHECK(std::this_thread::get_id() != thread_.get_id(), "the engine thread would wait for itself");
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto none_left = [&] { return live_.empty() && !working_; };
  // A wait of no time would let the lock go all the same.
  if (none_left() || (limit.count() > 0 && emptied_.wait_for(lock, limit, none_left))) return;
  CancelAll();
  wake_.notify_one();
  emptied_.wait(lock, none_left);
}

/// With the mutex held.
void EngineLoop::CancelAll() {
  for (const auto& [id, request] : live_) {
    if (request->ending) continue;
    request->ending = true;
    cancels_.push_back(request.get());
  }
}

LoopStats EngineLoop::stats() const {
  std::lock_guard lock(mutex_);
  LoopStats stats = stats_;
  stats.work_pending = !live_.empty() || working_;
  stats.waiting = static_cast<int64_t>(live_.size()) - stats.running;
  stats.seconds_since_progress = stats.work_pending ? Seconds(Clock::now() - progress_) : 0;
  return stats;
}

void EngineLoop::Main() {
  while (Receive()) {
    if (!scheduler_.empty()) RunStep();
  }
}

/// Waits for work. Takes in what has arrived and ends what was cancelled; false once the loop is to stop and
/// all requests have ended.
bool EngineLoop::Receive() {
  bool stop;
  {
    std::unique_lock lock(mutex_);
    working_ = false;
    if (live_.empty()) emptied_.notify_all();
    wake_.wait(lock,
               [&] { return stopping_ || !scheduler_.empty() || !inbox_.empty() || !cancels_.empty(); });
    stop = stopping_;
    if (stop) CancelAll();
    working_ = true;
    std::swap(arrived_, inbox_);
    std::swap(doomed_, cancels_);
  }
  for (LiveRequest* request : arrived_) scheduler_.Add(*request);
  arrived_.clear();
  for (LiveRequest* request : doomed_) {
    request->End(request->ends_with);
    Retire(*request);
  }
  doomed_.clear();
  return !stop;
}

void EngineLoop::RunStep() {
  const Clock::time_point begin = Clock::now();
  const StepPlan& plan = scheduler_.Schedule(budget_.tokens());
  MarkStarted(plan, begin);
  BeginStep(plan);
  const bool counted = options_.on_step && plan.prefill_tokens == 0;
  const int64_t experts_before = routes_.distinct(), positions = counted ? CountPositions(plan) : 0;
  const Result<View<const float>> logits = engine_->RunStep(plan.slices, counted ? &routes_ : nullptr);
  TakeGuessesBack();
  if (logits) {
    // Before blocks are shared, and before a request ends that has computed some: what is in the prefix cache is
    // whole, the prediction layer's part too.
    if (speculator_) speculator_->Keep(stepping_);
    scheduler_.Complete();
    Sample(plan, *logits);
    if (speculator_) {
      speculator_->KeepGuessed(stepping_);
      JudgeGuesses();
    }
    RepeatWaiting();
  } else {
    FailStep(plan, logits.error());
  }
  const double seconds = Seconds(Clock::now() - begin);
  budget_.Observe(plan.decode_tokens, plan.prefill_tokens, seconds);
  Publish(plan, seconds, logits.has_value());
  if (logits && options_.on_step) Report(plan, seconds, routes_.distinct() - experts_before, positions);
}

/// `experts`: distinct ones of all layers together that a step without prompts read; `positions`: of its
/// sequences.
void EngineLoop::Report(const StepPlan& plan, double seconds, int64_t experts, int64_t positions) const {
  StepRecord record{.requests = static_cast<int64_t>(plan.slices.size()),
                    .decode_tokens = plan.decode_tokens,
                    .prefill_tokens = plan.prefill_tokens,
                    .seconds = seconds};
  // Without what guesses read of the prediction layer.
  if (plan.prefill_tokens == 0)
    record.read_bytes = cost_.Bytes(plan.decode_tokens + plan.draft_tokens, experts, positions);
  options_.on_step(record);
}

void EngineLoop::MarkStarted(const StepPlan& plan, Clock::time_point now) {
  if (plan.started.empty()) return;
  std::lock_guard lock(mutex_);
  for (ScheduledRequest* scheduled : plan.started) {
    LiveRequest& request = static_cast<LiveRequest&>(*scheduled);
    request.usage.cached = request.prefix_tokens;
    request.usage.queue_seconds = Seconds(now - request.submitted);
    stats_.prefix_query_tokens += request.usage.prompt;
    stats_.prefix_hit_tokens += request.usage.cached;
    --unstarted_;
  }
}

/// Notes where the step's requests stand, and has tokens guessed where the plan has room for them.
void EngineLoop::BeginStep(const StepPlan& plan) {
  accepted_ = pauses_ = mask_waits_ = 0;
  stepping_.clear();
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    LiveRequest& request = static_cast<LiveRequest&>(*plan.requests[i]);
    request.step_begin = request.sequence.computed;
    request.guessed = plan.slices[i].drafts;
    request.right = 0;
    request.waits = false;
    stepping_.push_back(&request);
  }
  ShareMaskWork(plan);
  for (ScheduledRequest* scheduled : plan.lost) {
    LiveRequest& request = static_cast<LiveRequest&>(*scheduled);
    request.again = -1;
    if (request.request.constraint) request.request.constraint->Rest();
  }
  if (speculator_) speculator_->Guess(stepping_, scratch_);
}

/// Gives each request that will draw under a constraint its part of kMaskWork. When a mask is there decides when its
/// token comes and never which, so what others need may count.
void EngineLoop::ShareMaskWork(const StepPlan& plan) {
  int64_t masks = 0;
  for (size_t i = 0; i < plan.slices.size(); ++i)
    masks += plan.slices[i].logits > 0 && stepping_[i]->request.constraint != nullptr;
  const int64_t threads = engine_->threads().threads(), rounds = (masks + threads - 1) / threads;
  for (LiveRequest* request : stepping_) request->mask_work = kMaskWork / std::max<int64_t>(rounds, 1);
}

/// Guesses were tokens for the step alone: what follows draws the tokens one by one, as without them.
void EngineLoop::TakeGuessesBack() {
  for (LiveRequest* request : stepping_) {
    Sequence& s = request->sequence;
    s.tokens.resize(s.tokens.size() - static_cast<size_t>(request->guessed));
    s.computed = std::min(s.computed, s.length());
  }
}

/// Draws the tokens of the requests that have nothing pending any more. Where the token drawn is the one that
/// was guessed, the step has computed it, and the next is drawn from its logits.
void EngineLoop::Sample(const StepPlan& plan, View<const float> logits) {
  drawing_.clear();
  for (size_t i = 0; i < plan.slices.size(); ++i)
    if (plan.slices[i].logits > 0) drawing_.push_back(stepping_[i]);
  for (size_t round = 0; !drawing_.empty(); ++round) {
    Draw(logits);
    Deliver(round);
    if (!drawing_.empty()) DropEnding();
  }
}

/// On all threads: which one draws for whom makes no difference.
void EngineLoop::Draw(View<const float> logits) {
  engine_->threads().For(static_cast<int64_t>(drawing_.size()), [&](int64_t i, int worker) {
    LiveRequest& request = *drawing_[static_cast<size_t>(i)];
    const Sequence& s = request.sequence;
    const float* row = logits.row(LogitRow(engine_->step(), s, s.length() - 1));
    request.Draw({row, static_cast<size_t>(logits.cols)}, scratch_[static_cast<size_t>(worker)]);
  });
}

/// Delivers what was drawn; drawing_ keeps the requests whose guess number `round` was right.
void EngineLoop::Deliver(size_t round) {
  int64_t tokens = 0;
  size_t kept = 0;
  for (LiveRequest* request : drawing_) {
    if (request->waits) continue;
    request->Accept(context_);
    const int32_t token = request->event.token;
    const bool right = static_cast<int64_t>(round) < request->guessed && request->guesses[round] == token;
    tokens += token >= 0;
    accepted_ += right;
    request->right += right;
    if (request->event.finished) {
      Retire(*request);
      continue;
    }
    request->request.deliver(request->event, request->usage);
    if (!right) continue;
    ++request->sequence.computed;
    drawing_[kept++] = request;
  }
  drawing_.resize(kept);
  std::lock_guard lock(mutex_);
  stats_.generated_tokens += tokens;
}

/// Decides which requests may have guesses in the next step.
void EngineLoop::JudgeGuesses() {
  for (LiveRequest* request : stepping_) {
    if (!request) continue;
    GuessControl& control = request->guess_control;
    // A guess whose token was put off is neither right nor wrong.
    const int64_t judged = request->waits ? request->right : request->guessed;
    pauses_ += control.Observe(judged, request->right, request->usage.generated);
    request->most_drafts = control.Most(request->usage.generated);
  }
}

/// Where a mask was not ready no token was drawn, and the logits are gone with the step: the last token is computed
/// again, to the same bits.
void EngineLoop::RepeatWaiting() {
  for (LiveRequest* request : stepping_) {
    if (!request) continue;
    request->again = -1;
    if (!request->waits) continue;
    request->again = --request->sequence.computed;
    // The prediction layer has the state of that token and not of the one before, which a guess would begin from.
    request->most_drafts = 0;
    ++mask_waits_;
  }
}

/// Requests that a delivery has ended get no further token.
void EngineLoop::DropEnding() {
  std::lock_guard lock(mutex_);
  std::erase_if(drawing_, [](const LiveRequest* request) { return request->ending; });
}

/// The step's computation failed: nobody in it can go on, the others can.
void EngineLoop::FailStep(const StepPlan& plan, const Error& error) {
  for (ScheduledRequest* scheduled : plan.requests) {
    LiveRequest& request = static_cast<LiveRequest&>(*scheduled);
    request.Fail(error);
    Retire(request);
  }
}

/// Gives back what an ended request holds, delivers its last event and forgets it.
void EngineLoop::Retire(LiveRequest& request) {
  scheduler_.Remove(request, /*distrust=*/request.event.reason == FinishReason::kError);
  std::replace(stepping_.begin(), stepping_.end(), &request, static_cast<LiveRequest*>(nullptr));
  request.request.deliver(request.event, request.usage);
  std::unique_ptr<LiveRequest> gone;  // destroyed when the lock is not held
  std::lock_guard lock(mutex_);
  std::erase(cancels_, &request);
  if (request.prefix_tokens < 0) --unstarted_;
  const auto found = live_.find(request.id());
  gone = std::move(found->second);
  live_.erase(found);
  ++stats_.finished_requests;
  CountBlocks();
}

/// With the mutex held.
void EngineLoop::CountBlocks() {
  stats_.running = scheduler_.running();
  stats_.free_blocks = engine_->blocks().free_blocks();
  stats_.cached_blocks = cache_.idle();
}

void EngineLoop::Publish(const StepPlan& plan, double seconds, bool succeeded) {
  std::lock_guard lock(mutex_);
  ++stats_.steps;
  stats_.failed_steps += !succeeded;
  stats_.preemptions += static_cast<int64_t>(plan.lost.size());
  stats_.mask_waits += mask_waits_;
  if (succeeded) stats_.prefill_tokens += plan.prefill_tokens;
  if (succeeded) stats_.drafted_tokens += plan.draft_tokens;
  stats_.accepted_tokens += accepted_;
  stats_.guess_pauses += pauses_;
  stats_.last_step_requests = static_cast<int64_t>(plan.slices.size());
  stats_.last_step_tokens = plan.decode_tokens + plan.draft_tokens + plan.prefill_tokens;
  stats_.last_step_seconds = seconds;
  stats_.prefill_budget = budget_.tokens();
  CountBlocks();
  progress_ = Clock::now();
}

}  // namespace hadal
