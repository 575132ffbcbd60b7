// The tokens that a grammar allows next.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/vocabulary.h"
#include "engine/token_constraint.h"

namespace hadal::grammar {

// Masks that a choice keeps by their state: 16 KB each for 129,000 tokens.
inline constexpr size_t kKeptMasks = 32;

/// Sets the bits of the tokens of `vocabulary` that may follow `state`, whole or as the beginning of more.
/// `mask` [(V + 63) / 64] is overwritten. A token that ends inside a character is set exactly when bytes of
/// the grammar's text complete it. Errors as Automaton::CheckRoom.
/// Cost: the tokens that begin rightly; 0.02 to 0.3 ms for states of JSON, some ms where most of the
/// vocabulary must be walked through.
Status FillMask(Automaton& automaton, Automaton::State state, const Vocabulary& vocabulary,
                std::vector<uint64_t>& mask);

/// Holds one choice to a grammar. Tokens that end the generation are allowed exactly where the text is
/// complete; a token that a caller added to them and that is text too stays subject to the grammar.
class GrammarConstraint final : public TokenConstraint {
 public:
  GrammarConstraint(std::shared_ptr<const Vocabulary> vocabulary, std::shared_ptr<const Program> program,
                    std::vector<int64_t> stop_ids);

  /// kInvalidArgument: no token goes on within the automaton's limits.
  Result<std::span<const uint64_t>> Allowed() override;
  void Accept(int32_t token) override;
  bool MustEnd() const override;

  const Automaton& automaton() const { return automaton_; }

 private:
  struct Kept {
    Automaton::State state = Automaton::kDead;
    std::vector<uint64_t> mask;
  };

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<int64_t> stop_ids_;
  Automaton automaton_;
  Automaton::State state_;
  std::vector<Kept> kept_;  // at most kKeptMasks, in the order in which they were made, round and round
  size_t next_ = 0;         // of kept_, to be replaced
};

}  // namespace hadal::grammar
