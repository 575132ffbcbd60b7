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
// Ways of reading a text that are followed at once. What would need more can't be taken: the grammar is
// ambiguous beyond use.
inline constexpr size_t kMaxThreads = 4096;
// States, and steps of work, between two calls of Compact: what one mask may cost. Some 0.2 s of work at
// most.
inline constexpr size_t kMaxStates = 50'000;
inline constexpr int64_t kMaxWork = 10'000'000;

/// A state is a set of threads; a thread is a node, and a stack of nodes to return to. Equal states have
/// equal ids, and steps that were taken once are looked up. Everything depends on the program and the calls
/// alone.
///
/// Memory: at most kMaxStates rows of 4 bytes per class of bytes, and kMaxWork bounds the rest; a JSON
/// schema's states take some 100 KB. Used by one thread at a time.
class Automaton {
 public:
  using State = int32_t;
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
    for (const Thread& thread : Threads(state))
      for (const Edge& edge : program_->edges(thread.node))
        if (edge.kind == Edge::kToken) visit(edge.value);
  }

  /// Forgets all states but `state`; its new id. Makes room for kMaxStates and kMaxWork.
  State Compact(State state);
  bool nearly_full() const { return states_.size() > kMaxStates / 2 || work_ > kMaxWork / 2; }
  /// kInvalidArgument once a step could not be taken since kMaxStates or kMaxWork were reached.
  Status CheckRoom() const;
  /// Whether depth or ambiguity has cut off a step since the last Compact.
  bool cut() const { return cut_; }

  size_t state_count() const { return states_.size(); }
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
  int64_t work_ = 0;
  bool full_ = false, cut_ = false;

  // Of the step being made.
  std::vector<Thread> open_, kept_;
  std::vector<Thread> seen_;  // open addressing, at most half full
  std::vector<uint32_t> seen_stamp_;
  uint32_t stamp_ = 0;
  size_t seen_count_ = 0;
};

}  // namespace hadal::grammar
