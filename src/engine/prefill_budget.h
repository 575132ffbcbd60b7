// How much of a step prompts may take beside requests that wait for their next token.
#pragma once

#include <cstdint>

namespace hadal {

/// A controller: multiplicative, so that it needs no model of the machine. A step over the target shrinks the
/// budget in proportion (and a tenth more), one that used the whole budget well below the target widens it by
/// a quarter.
class PrefillBudget {
 public:
  // Below this a prompt would hardly get on, and a forward pass costs about the same.
  static constexpr int64_t kLeast = 16;
  static constexpr double kAim = 0.9;  // of the target: room for the noise of step times

  /// target_seconds 0: always `most` tokens.
  PrefillBudget(int64_t most, double target_seconds);

  int64_t tokens() const { return tokens_; }
  /// Tells it of a step's tokens and the time that it took. Steps without decode tokens keep nobody waiting
  /// and steps without prefill tokens say nothing of the budget; both are ignored.
  void Observe(int64_t decode_tokens, int64_t prefill_tokens, double seconds);

 private:
  int64_t most_;
  int64_t least_;
  double target_;
  int64_t tokens_;
};

}  // namespace hadal
