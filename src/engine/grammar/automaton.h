// Where a text stands in a grammar, byte by byte: a pushdown automaton whose states are made as they are met.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/grammar/program.h"

namespace hadal::grammar {

// Calls of rules inside each other; what would go deeper cannot be taken.
inline constexpr int kMaxStackDepth = 1024;
// Ways of reading a text that are followed at once, and looks at the network while one byte is read. What would
// need more can't be taken: the grammar is ambiguous beyond use.
inline constexpr size_t kMaxThreads = 4096;
inline constexpr int64_t kMaxStepWork = 100'000;
// Bytes of states, and steps of work (2 to 5 ns each), between two calls of Compact: what one mask may cost.
inline constexpr size_t kMaxStateBytes = size_t{1} << 20;
inline constexpr int64_t kMaxWork = 4'000'000;

/// A state is a set of threads; a thread is a node, and a stack of nodes to return to. Equal states have
/// equal ids, and steps that were taken once are looked up. Everything depends on the program and the calls
/// alone.
///
/// Memory: kPlannedBytes at most; a JSON schema's states take some 100 KB, those of some thousand words 300 KB.
///
/// Limits hold from a Compact to the next. All that a mask takes after a Compact is part of what it and the masks
/// before it take without one, so a caller that tries again after a Compact meets a limit or doesn't whatever came
/// before. Used by one thread at a time.
class Automaton {
 public:
  using State = int32_t;
  // kMaxStateBytes in vectors that are half empty and one that moves, and what a step works with.
  static constexpr size_t kPlannedBytes = 3 * kMaxStateBytes + (size_t{960} << 10);
  static constexpr State kDead = -1;  // no text of the grammar begins like this

  explicit Automaton(std::shared_ptr<const Program> program);

  State start() const { return start_; }
  /// The state after `byte`; kDead from kDead.
  State Step(State state, uint8_t byte) {
    if (state == kDead) return kDead;
    const State next = table_[RowOf(state) + program_->class_of(byte)];
    return next == kUnknown ? MakeStep(state, byte) : next;
  }
  /// The state after the token `id` where the grammar names it as such, else kDead.
  State StepToken(State state, int32_t id);

  /// Whether the text may end here.
  bool accepts(State state) const { return states_[state].accepts; }
  /// Whether anything may follow.
  bool goes_on(State state) const { return states_[state].count > 0; }
  /// Calls visit(id) for each token that the grammar names here, perhaps twice.
  template <typename Visit>
  void ForTokens(State state, Visit visit) const {
    int32_t last = -1;  // threads are in the order of their nodes
    for (const Thread& thread : Threads(state)) {
      if (thread.node == last) continue;
      last = thread.node;
      for (const Edge& edge : program_->token_edges(thread.node)) visit(edge.value);
    }
  }

  /// Forgets all states but `state`, and gives their memory back; its new id.
  State Compact(State state);
  bool nearly_full() const { return StateBytes() > kMaxStateBytes / 2 || work_ > kMaxWork / 2; }
  /// Whether a step could not be taken since kMaxStateBytes or kMaxWork were reached.
  bool full() const { return full_; }
  /// kInvalidArgument if full().
  Status CheckRoom() const;
  /// Steps since the last Compact.
  int64_t work() const { return work_; }
  /// Whether depth or ambiguity has cut off a step since the last Compact.
  bool cut() const { return cut_; }

  size_t state_count() const { return states_.size(); }
  /// Memory in use, room for more included.
  size_t bytes() const;
  const Program& program() const { return *program_; }

 private:
  static constexpr State kUnknown = -2;
  struct Thread {
    int32_t node, stack;
    auto operator<=>(const Thread&) const = default;
  };
  struct StackNode {
    int32_t node, below, depth;  // below: index, 0 is the empty stack
  };
  struct StateInfo {
    int32_t first, count;  // of threads_
    bool accepts;
    uint32_t hash;
  };

  size_t RowOf(State state) const {
    return static_cast<size_t>(state) * static_cast<size_t>(program_->class_count());
  }
  std::span<const Thread> Threads(State state) const {
    const StateInfo& info = states_[static_cast<size_t>(state)];
    return {threads_.data() + info.first, static_cast<size_t>(info.count)};
  }
  void Clear();
  size_t StateBytes() const {
    return states_.size() * sizeof(StateInfo) + threads_.size() * sizeof(Thread) + table_.size() * sizeof(State) +
           stacks_.size() * sizeof(StackNode) + (state_index_.size() + stack_index_.size()) * sizeof(int32_t);
  }
  bool TooMuchWork() const { return work_ - step_begin_ > kMaxStepWork; }
  State MakeStep(State state, uint8_t byte);
  void Visit(int32_t node, int32_t stack);
  void GrowSeen();
  State Close();
  State Intern(bool accepts);
  int32_t Push(int32_t node, int32_t below);
  void GrowIndex(std::vector<int32_t>& index, bool of_states);
  uint32_t HashOfStack(int32_t node, int32_t below) const;

  std::shared_ptr<const Program> program_;
  State start_ = 0;
  std::vector<StateInfo> states_;
  std::vector<Thread> threads_;
  std::vector<State> table_;  // [states, classes]
  std::vector<StackNode> stacks_;
  std::vector<int32_t> state_index_, stack_index_;  // open addressing; -1: free
  int64_t work_ = 0, step_begin_ = 0;  // and what it was when the step being made began
  bool full_ = false, cut_ = false;

  // Of the step being made.
  std::vector<Thread> open_, kept_;
  std::vector<Thread> seen_;  // open addressing, at most half full
  std::vector<uint32_t> seen_stamp_;
  uint32_t stamp_ = 0;
  size_t seen_count_ = 0;
};

}  // namespace hadal::grammar
