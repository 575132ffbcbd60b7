// A grammar as a network of nodes over bytes: what the automaton walks.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/grammar/grammar.h"

namespace hadal::grammar {

// Together some 10 MB at most.
inline constexpr size_t kMaxNodes = 200'000;
inline constexpr size_t kMaxEdges = 600'000;

struct Edge {
  enum Kind : uint8_t {
    kBytes,    // a byte of `lo` to `hi`, then `target`
    kToken,    // the token `value`, then `target`
    kEpsilon,  // nothing, then `target`
    kCall,     // the network from node `value` on, then `target`; kTail: then what the caller goes on with
    kReturn,   // the end of a rule
  };
  static constexpr int32_t kTail = -1;
  Kind kind = kEpsilon;
  uint8_t lo = 0, hi = 0;
  int32_t target = 0;
  int32_t value = 0;
};

/// Immutable; shared by the choices of a call.
class Program {
 public:
  /// The network of `grammar` from the rule `root` on, without what can never come to an end, so that from
  /// every node there is a way on.
  ///
  /// kInvalidArgument: a rule without body, left recursion (a rule that comes to itself before any byte; it
  /// is named), or a grammar that matches nothing. kResourceExhausted: more than kMaxNodes or kMaxEdges.
  /// Cost: O(size), some 20 ms at most.
  static Result<std::shared_ptr<const Program>> Compile(const Grammar& grammar, RuleId root);

  int32_t entry() const { return entry_; }
  size_t node_count() const { return offsets_.size() - 1; }
  std::span<const Edge> edges(int32_t node) const {
    const auto at = static_cast<size_t>(node);
    return {edges_.data() + offsets_[at], edges_.data() + offsets_[at + 1]};
  }
  /// Those of them that take a token.
  std::span<const Edge> token_edges(int32_t node) const {
    const auto at = static_cast<size_t>(node);
    return {edges_.data() + offsets_[at], static_cast<size_t>(token_counts_[at])};
  }
  /// Bytes that no edge tells apart share a class.
  uint8_t class_of(uint8_t byte) const { return classes_[byte]; }
  int class_count() const { return class_count_; }
  size_t bytes() const {
    return edges_.size() * sizeof(Edge) + (offsets_.size() + token_counts_.size()) * sizeof(int32_t);
  }

 private:
  std::vector<int32_t> offsets_;  // [nodes + 1] into edges_
  std::vector<Edge> edges_;  // of each node, those that take a token first
  std::vector<int32_t> token_counts_;  // [nodes]
  int32_t entry_ = 0;
  std::array<uint8_t, 256> classes_{};
  int class_count_ = 1;
};

}  // namespace hadal::grammar
