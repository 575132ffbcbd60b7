#include "engine/grammar/automaton.h"

#include <algorithm>

namespace hadal::grammar {
namespace {

constexpr size_t kMaxSeen =
    4 * kMaxThreads;  // threads looked at in one step, those that read nothing included

constexpr size_t kLeastSeen = 256;

uint32_t Mix(uint32_t hash, uint32_t value) {
  hash = (hash ^ value) * 0x9E3779B1u;
  return hash ^ (hash >> 15);
}

}  // namespace

Automaton::Automaton(std::shared_ptr<const Program> program)
    : program_(std::move(program)) {
  Clear();
  Visit(program_->entry(), 0);
  start_ = Close();
}

void Automaton::Clear() {
  // Assigning {} would keep the memory.
  states_ = std::vector<StateInfo>();
  threads_ = std::vector<Thread>();
  table_ = std::vector<State>();
  stacks_ = std::vector<StackNode>{{-1, 0, 0}};
  state_index_ = std::vector<int32_t>(256, -1);
  stack_index_ = std::vector<int32_t>(256, -1);
  work_ = step_begin_ = 0;
  full_ = cut_ = false;
  open_ = std::vector<Thread>();
  kept_ = std::vector<Thread>();
  seen_ = std::vector<Thread>(kLeastSeen);
  seen_stamp_ = std::vector<uint32_t>(kLeastSeen);
  ++stamp_;
  seen_count_ = 0;
}

size_t Automaton::bytes() const {
  return states_.capacity() * sizeof(StateInfo) + threads_.capacity() * sizeof(Thread) +
         table_.capacity() * sizeof(State) + stacks_.capacity() * sizeof(StackNode) +
         (state_index_.capacity() + stack_index_.capacity()) * sizeof(int32_t) +
         seen_.size() * (sizeof(Thread) + sizeof(uint32_t)) +
         (open_.capacity() + kept_.capacity()) * sizeof(Thread);
}

Status Automaton::CheckRoom() const {
  if (!full_) return {};
  return InvalidArgument(
      "the grammar has too many ways to go on from here: what may come next takes more than {} KB of states or "
      "{} steps of work; make it less ambiguous, or its lists shorter",
      kMaxStateBytes / 1024, kMaxWork);
}

uint32_t Automaton::HashOfStack(int32_t node, int32_t below) const {
  return Mix(Mix(0x811C9DC5u, static_cast<uint32_t>(node)), static_cast<uint32_t>(below));
}

void Automaton::GrowIndex(std::vector<int32_t>& index, bool of_states) {
  const size_t count = of_states ? states_.size() : stacks_.size();
  if (2 * count < index.size()) return;
  index.assign(2 * index.size(), -1);
  for (size_t i = of_states ? 0 : 1; i < count; ++i) {
    uint32_t slot = of_states ? states_[i].hash : HashOfStack(stacks_[i].node, stacks_[i].below);
    while (index[slot & (index.size() - 1)] >= 0) ++slot;
    index[slot & (index.size() - 1)] = static_cast<int32_t>(i);
  }
}

/// The stack with `node` on `below`; -1 if that would be too deep, or there is no room.
int32_t Automaton::Push(int32_t node, int32_t below) {
  ++work_;
  const int32_t depth = stacks_[static_cast<size_t>(below)].depth + 1;
  if (depth > kMaxStackDepth) {
    cut_ = true;
    return -1;
  }
  GrowIndex(stack_index_, /*of_states=*/false);
  uint32_t slot = HashOfStack(node, below);
  for (;; ++slot) {
    int32_t& entry = stack_index_[slot & (stack_index_.size() - 1)];
    if (entry < 0) {
      if (StateBytes() > kMaxStateBytes) {
        full_ = true;
        return -1;
      }
      entry = static_cast<int32_t>(stacks_.size());
      stacks_.push_back({node, below, depth});
      return entry;
    }
    if (stacks_[entry].node == node && stacks_[entry].below == below) return entry;
  }
}

/// Notes a thread of the step being made, unless it was noted before.
void Automaton::Visit(int32_t node, int32_t stack) {
  ++work_;
  if (seen_count_ >= kMaxSeen) {
    seen_count_ = kMaxSeen + 1;  // Close sees that there were too many
    return;
  }
  if (2 * (seen_count_ + 1) > seen_.size()) GrowSeen();
  uint32_t slot = HashOfStack(node, stack);
  for (;; ++slot) {
    const size_t at = slot & (seen_.size() - 1);
    if (seen_stamp_[at] != stamp_) {
      seen_stamp_[at] = stamp_;
      seen_[at] = {node, stack};
      ++seen_count_;
      open_.push_back({node, stack});
      return;
    }
    if (seen_[at] == Thread{node, stack}) return;
  }
}

void Automaton::GrowSeen() {
  std::vector<Thread> seen(2 * seen_.size());
  std::vector<uint32_t> stamps(seen.size());
  for (size_t i = 0; i < seen_.size(); ++i) {
    if (seen_stamp_[i] != stamp_) continue;
    uint32_t slot = HashOfStack(seen_[i].node, seen_[i].stack);
    while (stamps[slot & (seen.size() - 1)] == stamp_) ++slot;
    seen[slot & (seen.size() - 1)] = seen_[i];
    stamps[slot & (seen.size() - 1)] = stamp_;
  }
  seen_ = std::move(seen);
  seen_stamp_ = std::move(stamps);
}

/// Follows the noted threads up to where they read, and gives the state that they make.
Automaton::State Automaton::Close() {
  bool accepts = false;
  while (!open_.empty() && !TooMuchWork()) {
    const Thread thread = open_.back();
    open_.pop_back();
    bool reads = false;
    for (const Edge& edge : program_->edges(thread.node)) {
      ++work_;
      if (edge.kind == Edge::kEpsilon) {
        Visit(edge.target, thread.stack);
      } else if (edge.kind == Edge::kCall) {
        const int32_t stack = edge.target == Edge::kTail ? thread.stack : Push(edge.target, thread.stack);
        if (stack >= 0) Visit(edge.value, stack);
      } else if (edge.kind == Edge::kReturn) {
        const StackNode top = stacks_[static_cast<size_t>(thread.stack)];
        if (thread.stack == 0)
          accepts = true;
        else
          Visit(top.node, top.below);
      } else {
        reads = true;
      }
    }
    if (reads) kept_.push_back(thread);
  }
  const bool too_many = seen_count_ > kMaxSeen || kept_.size() > kMaxThreads || TooMuchWork();
  cut_ |= too_many;
  const State state = too_many || full_ || (kept_.empty() && !accepts) ? kDead : Intern(accepts);
  open_.clear();
  kept_.clear();
  seen_count_ = 0;
  ++stamp_;
  return state;
}

/// The id of the state of the threads in kept_; kDead if there is no room.
Automaton::State Automaton::Intern(bool accepts) {
  std::ranges::sort(kept_);
  uint32_t hash = accepts;
  for (const Thread& thread : kept_)
    hash = Mix(Mix(hash, static_cast<uint32_t>(thread.node)), static_cast<uint32_t>(thread.stack));
  GrowIndex(state_index_, /*of_states=*/true);
  for (uint32_t slot = hash;; ++slot) {
    State& entry = state_index_[slot & (state_index_.size() - 1)];
    if (entry < 0) {
      if (StateBytes() > kMaxStateBytes) {
        full_ = true;
        return kDead;
      }
      entry = static_cast<State>(states_.size());
      states_.push_back(
          {static_cast<int32_t>(threads_.size()), static_cast<int32_t>(kept_.size()), accepts, hash});
      threads_.insert(threads_.end(), kept_.begin(), kept_.end());
      table_.resize(table_.size() + static_cast<size_t>(program_->class_count()), kUnknown);
      return entry;
    }
    const StateInfo& known = states_[entry];
    if (known.hash == hash && known.accepts == accepts && std::ranges::equal(Threads(entry), kept_))
      return entry;
  }
}

Automaton::State Automaton::MakeStep(State state, uint8_t byte) {
  if (work_ > kMaxWork) full_ = true;
  if (full_) return kDead;
  step_begin_ = work_;
  for (const Thread& thread : Threads(state)) {
    if (TooMuchWork()) break;
    for (const Edge& edge : program_->edges(thread.node)) {
      ++work_;
      if (edge.kind == Edge::kBytes && edge.lo <= byte && byte <= edge.hi) Visit(edge.target, thread.stack);
    }
  }
  const State next = Close();
  if (full_) return kDead;  // not kept: after a Compact there may be a step
  table_[RowOf(state) + program_->class_of(byte)] = next;
  return next;
}

Automaton::State Automaton::StepToken(State state, int32_t id) {
  if (state == kDead || full_) return kDead;
  step_begin_ = work_;
  for (const Thread& thread : Threads(state)) {
    if (TooMuchWork()) break;
    for (const Edge& edge : program_->token_edges(thread.node)) {
      ++work_;
      if (edge.value == id) Visit(edge.target, thread.stack);
    }
  }
  return Close();
}

Automaton::State Automaton::Compact(State state) {
  if (state == kDead) {
    Clear();
    return kDead;
  }
  const std::span<const Thread> threads = Threads(state);
  const std::vector<Thread> kept(threads.begin(), threads.end());
  const bool accepts = states_[state].accepts;
  const std::vector<StackNode> stacks = std::move(stacks_);
  Clear();
  std::vector<int32_t> moved(stacks.size(), -1);  // new index of a stack
  moved[0] = 0;
  std::vector<int32_t> chain;
  for (const Thread& thread : kept) {
    for (int32_t at = thread.stack; moved[at] < 0; at = stacks[at].below) chain.push_back(at);
    for (; !chain.empty(); chain.pop_back()) {
      const StackNode& node = stacks[chain.back()];
      moved[chain.back()] = Push(node.node, moved[node.below]);
    }
    kept_.push_back({thread.node, moved[thread.stack]});
  }
  const State made = Intern(accepts);
  kept_.clear();
  return made;
}

}  // namespace hadal::grammar
