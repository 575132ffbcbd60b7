// The tokens that a grammar allows next.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/vocabulary.h"
#include "engine/token_constraint.h"

namespace hadal::grammar {

// Masks that a choice keeps by their state: 16 KB each for 129,000 tokens.
inline constexpr size_t kKeptMasks = 32;

/// Makes the mask of a state, a part at a time: the bits of the tokens of a vocabulary that may follow, whole or as the
/// beginning of more. A token that ends inside a character is set exactly when bytes of the grammar's text complete it.
/// Cost: the tokens that begin rightly; 0.02 to 0.3 ms for states of JSON, 1 ms where most of 129,000 tokens must be
/// walked through.
class MaskBuilder {
 public:
  void Begin(Automaton::State state);
  /// Goes on for about `work` steps, which it takes from `work`: bytes of tokens looked at, and the automaton's own.
  /// True when `mask` [(V + 63) / 64] is whole, or the automaton is full. Between Begin and then the automaton is not
  /// compacted.
  bool Continue(Automaton& automaton, const Vocabulary& vocabulary, int64_t& work, std::vector<uint64_t>& mask);

 private:
  void BeginWalk(const TokenTree& tree);
  bool FindPlain(Automaton& automaton, int64_t& work);
  bool Walk(Automaton& automaton, int64_t& work, std::vector<uint64_t>& mask);

  Automaton::State state_ = Automaton::kDead;
  // Whether plain tokens may follow is looked for first: `level_` plain characters have led to plain_state_, and the
  // first `sequence_` kinds of the next lead to plain_next_.
  enum class Plain { kUnknown, kYes, kNo } plain_ = Plain::kUnknown;
  int level_ = 0;
  size_t sequence_ = 0;
  Automaton::State plain_state_ = Automaton::kDead, plain_next_ = Automaton::kDead;
  // Then the tree is walked.
  const TokenTree* tree_ = nullptr;
  int32_t node_ = 0;                      // of tree_, the next
  std::vector<Automaton::State> states_;  // before each byte on the way there
};

/// The whole mask at once. Errors as Automaton::CheckRoom.
Status FillMask(Automaton& automaton, Automaton::State state, const Vocabulary& vocabulary,
                std::vector<uint64_t>& mask);

/// Holds one choice to a grammar. Tokens that end the generation are allowed exactly where the text is
/// complete; a token that a caller added to them and that is text too stays subject to the grammar.
///
/// What is allowed, errors included, depends on the tokens alone: where the automaton is full, the mask is made again
/// from the state alone.
class GrammarConstraint final : public TokenConstraint {
 public:
  GrammarConstraint(std::shared_ptr<const Vocabulary> vocabulary, std::shared_ptr<const Program> program,
                    std::vector<int64_t> stop_ids);
  GrammarConstraint(const GrammarConstraint&) = delete;
  GrammarConstraint& operator=(const GrammarConstraint&) = delete;
  /// Memory of one at most, for a vocabulary of that size; next to nothing before the first call and after Rest. The
  /// program is not counted.
  static size_t PlannedBytes(int64_t vocab_size);

  /// kInvalidArgument: no token goes on within the automaton's limits.
  Result<bool> Prepare(int64_t& work) override;
  Result<std::span<const uint64_t>> Allowed() override;
  void Accept(int32_t token) override;
  bool MustEnd() const override;
  void Rest() override;

  /// Memory in use.
  size_t bytes() const;

 private:
  struct Kept {
    Automaton::State state = Automaton::kDead;
    std::vector<uint64_t> mask;
  };
  Automaton& Awake() const;
  Kept* Find();
  void BeginMask();
  Status FinishMask();
  void Compact();
  Automaton::State After(int32_t token);

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::shared_ptr<const Program> program_;
  std::vector<int64_t> stop_ids_;
  // Made when it is first asked: requests that wait have none.
  mutable std::unique_ptr<Automaton> automaton_;
  mutable Automaton::State state_ = Automaton::kDead;
  MaskBuilder builder_;
  Kept* building_ = nullptr;  // the mask that is being made
  bool compacted_ = false;    // since it was begun there is nothing in the automaton but what it needs
  std::vector<Kept> kept_;    // at most kKeptMasks, in the order in which they were made, round and round
  size_t next_ = 0;           // of kept_, to be replaced
};

}  // namespace hadal::grammar
