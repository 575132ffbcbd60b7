#include "engine/speculative.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace hadal {

Speculator::Speculator(Engine& engine, int64_t max_running)
    : engine_(&engine), hidden_(engine.config().hidden_size), block_size_(engine.pass().limits().block_size) {
  step_.Reserve(engine.pass().limits().tokens, max_running, max_running);
  guessing_.reserve(static_cast<size_t>(max_running));
}

Result<Speculator> Speculator::Create(Engine& engine, int64_t max_running) {
  HADAL_CHECK(!engine.weights().mtp.empty(), "no prediction layer is loaded");
  Speculator made(engine, max_running);
  ASSIGN_OR_RETURN(made.states_, Buffer<float>::Allocate(engine.pass().limits().tokens * made.hidden_,
                                                         "the states that guesses come from"));
  ASSIGN_OR_RETURN(made.last_, Buffer<float>::Allocate(engine.blocks().blocks() * made.hidden_,
                                                       "the states that guesses come from"));
  return made;
}

uint64_t Speculator::PlannedBytes(const ModelConfig& config, const StepLimits& limits) {
  return static_cast<uint64_t>((limits.tokens + limits.blocks()) * config.hidden_size) * sizeof(float);
}

float* Speculator::LastState(const Sequence& sequence, int64_t position) const {
  return last_.data() + sequence.block_table[static_cast<size_t>(position / block_size_)] * hidden_;
}

void Speculator::Guess(std::span<LiveRequest* const> requests, std::span<SamplerScratch> scratch) {
  guessing_.clear();
  std::copy_if(requests.begin(), requests.end(), std::back_inserter(guessing_),
               [](const LiveRequest* request) { return request->guessed > 0; });
  for (int64_t depth = 0; !guessing_.empty(); ++depth) {
    GatherStates(depth);
    GuessNext(depth, scratch);
    std::erase_if(guessing_, [&](const LiveRequest* request) { return request->guessed == depth + 1; });
  }
}

/// step_ and states_ for the last token of each sequence: the state before it is the model's own at first, then
/// the prediction layer's.
void Speculator::GatherStates(int64_t depth) {
  const View<const float> before = engine_->pass().final_states();
  step_.Clear();
  for (size_t i = 0; i < guessing_.size(); ++i) {
    const Sequence& s = guessing_[i]->sequence;
    const int64_t position = s.length() - 2;
    const float* state = depth == 0 ? LastState(s, position) : before.row(guessing_[i]->guess_row);
    const int64_t row = step_.rows();
    std::copy_n(state, hidden_, states_.data() + row * hidden_);
    step_.Add(Run::Role::kGenerated, &s.tokens.back(), 1, position, s.block_table.data());
    step_.logit_rows.push_back(static_cast<int32_t>(row));
    guessing_[i]->guess_row = row;
  }
}

void Speculator::GuessNext(int64_t depth, std::span<SamplerScratch> scratch) {
  const View<const float> states(states_.data(), step_.rows(), hidden_);
  const Result<View<const float>> logits = engine_->pass().RunMtp(step_, states, /*depth=*/0);
  engine_->threads().For(step_.rows(), [&](int64_t i, int worker) {
    LiveRequest& request = *guessing_[static_cast<size_t>(i)];
    int32_t guess = -1;
    if (logits)
      guess = request.Guess({logits->row(i), static_cast<size_t>(logits->cols)}, scratch[static_cast<size_t>(worker)]);
    if (guess < 0) guess = request.sequence.tokens.back();
    request.guesses[static_cast<size_t>(depth)] = guess;
    request.sequence.tokens.push_back(guess);
  });
}

void Speculator::Keep(std::span<LiveRequest* const> requests) {
  step_.Clear();
  for (const LiveRequest* request : requests) {
    if (request->guessed > 0) continue;
    AddToKeep(*request);
    SaveStates(*request);
  }
  // The pass overwrites the step's states.
  int64_t row = step_.rows();
  for (LiveRequest* request : requests) {
    if (request->guessed == 0) continue;
    const int64_t from = StepRow(engine_->step(), request->sequence, request->step_begin);
    const View<const float> states = engine_->pass().final_states().Rows(from, 1 + request->guessed);
    std::copy_n(states.data, states.rows * hidden_, states_.data() + row * hidden_);
    request->guess_row = row;
    row += states.rows;
  }
  CacheKept();
}

void Speculator::KeepGuessed(std::span<LiveRequest* const> requests) {
  step_.Clear();
  for (const LiveRequest* request : requests) {
    if (!request || request->guessed == 0) continue;
    // In this order: what is added moves to rows before the request's own, or onto them.
    SaveStates(*request);
    AddToKeep(*request);
  }
  CacheKept();
}

void Speculator::CacheKept() {
  if (step_.rows() > 0)
    engine_->pass().CacheMtp(step_, View<const float>(states_.data(), step_.rows(), hidden_), /*depth=*/0);
}

/// The state after the final norm of a position that the step has.
const float* Speculator::State(const LiveRequest& request, int64_t position) const {
  if (request.guessed > 0) return states_.data() + (request.guess_row + position - request.step_begin) * hidden_;
  return engine_->pass().final_states().row(StepRow(engine_->step(), request.sequence, position));
}

/// Adds the latents that lie at the places of the step's tokens. Each needs the state before its token; the one
/// of the first place is there already if Guess began from it, or the token is computed again.
void Speculator::AddToKeep(const LiveRequest& request) {
  const Sequence& s = request.sequence;
  const bool is_there = request.guessed > 0 || request.again == request.step_begin;
  const int64_t begin = std::max<int64_t>(request.step_begin + is_there, 1);
  if (begin >= s.computed) return;
  for (int64_t place = begin; place < s.computed; ++place) {
    const float* state = place == request.step_begin ? LastState(s, place - 1) : State(request, place - 1);
    std::memmove(states_.data() + (step_.rows() + place - begin) * hidden_, state,
                 static_cast<size_t>(hidden_) * sizeof(float));
  }
  // Nothing attends in this pass, so the role means nothing.
  step_.Add(Run::Role::kPrompt, s.tokens.data() + begin, s.computed - begin, begin - 1, s.block_table.data());
}

/// The state of the last computed position in each block that the step reached.
void Speculator::SaveStates(const LiveRequest& request) {
  const Sequence& s = request.sequence;
  for (int64_t begin = request.step_begin; begin < s.computed;) {
    const int64_t end = std::min((begin / block_size_ + 1) * block_size_, s.computed);
    std::copy_n(State(request, end - 1), hidden_, LastState(s, end - 1));
    begin = end;
  }
}

}  // namespace hadal
