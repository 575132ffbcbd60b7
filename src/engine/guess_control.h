// Whether guesses at a request's tokens pay, by how many of its own came true.
#pragma once

#include <array>
#include <cstdint>

namespace hadal {

// Tokens guessed ahead of one request in one step at most.
inline constexpr int64_t kMostDrafts = 4;

/// A guess costs a row in the step and a pass of the prediction layer, `cost` of a step without guesses, and saves a
/// step where it is right: it pays while the share of right ones is at least `cost`. Kept for the first guess of a
/// step, the second and so on apart, as the further ones come true less often:
///
///   rate = (15 rate + (1 if right else 0)) / 16, from 1; a guess after a wrong one is wrong
///
/// When a rate falls below `cost`, there is no such guess, nor a further one, for 32 tokens of the answer; then a few
/// are tried, and if they do not pay either, the pause doubles, up to 256 tokens. It is 32 again once the rate has
/// come half the way from `cost` to 1.
///
/// Knows no clock and no other request: what it decides follows from the outcomes of the request's own guesses.
class GuessControl {
 public:
  static constexpr int64_t kFirstPause = 32, kLongestPause = 256;

  /// most: guesses in a step, up to kMostDrafts. cost 0: they always pay.
  GuessControl(int64_t most, double cost);

  /// Guesses that a step may have when the answer has `generated` tokens.
  int64_t Most(int64_t generated) const;
  /// Of `guessed` guesses in a step the first `right` were; afterwards the answer has `generated` tokens. Returns
  /// how many of the rates fell below the cost.
  int64_t Observe(int64_t guessed, int64_t right, int64_t generated);

 private:
  struct Depth {
    double rate = 1;
    int64_t pause = kFirstPause;  // tokens, the next one
    int64_t resumes = 0;          // at this many tokens of the answer
  };
  int64_t most_;
  double cost_;
  std::array<Depth, kMostDrafts> depths_;
};

}  // namespace hadal
