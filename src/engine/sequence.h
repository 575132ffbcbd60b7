// A sequence on its way through the model, and how sequences become a step.
#pragma once

#include <span>
#include <vector>

#include "engine/block_pool.h"
#include "model/step.h"

namespace hadal {

/// Tokens of one request. The first `prompt_length` are the prompt; what follows was generated. A token's
/// role, and with it its form of attention, is given by its index alone, also when it is computed a second
/// time.
struct Sequence {
  std::vector<int32_t> tokens;
  int64_t prompt_length = 0;
  int64_t computed = 0;               // tokens whose latents are in the cache
  std::vector<int32_t> block_table;

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  int64_t pending() const { return length() - computed; }
};

/// `count` of a sequence's pending tokens, to be computed in the next step.
struct Slice {
  Sequence* sequence;
  int64_t count;
  /// Rows of logits wanted: the slice's last `logits` tokens.
  int64_t logits = 1;
  /// Of `count`, the last ones that are guesses: tokens that the sequence gets before the step and loses after it.
  int64_t drafts = 0;
};

/// Fills `step` with the slices' tokens, prompt runs before generated runs, after extending the block tables.
/// step.logit_rows is in order of rows; RowOf finds a token's place in it. kResourceExhausted: the pool is
/// empty (the step is then unusable).
Status BuildStep(std::span<const Slice> slices, int64_t block_size, BlockPool& pool, Step& step);

/// The step's row of the token `index` of `sequence`, which is in it.
int64_t StepRow(const Step& step, const Sequence& sequence, int64_t index);

/// Index among the step's logit rows of the token `index` of `sequence`, which a slice asked for.
int64_t LogitRow(const Step& step, const Sequence& sequence, int64_t index);

/// Marks the slices' tokens as computed.
void FinishStep(std::span<const Slice> slices);

}  // namespace hadal
