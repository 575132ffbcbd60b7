#include "engine/sequence.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

/// Adds the part of the slice whose tokens lie in [begin, end) of its sequence.
void AddPart(const Slice& slice, Run::Role role, int64_t begin, int64_t end, Step& step) {
  Sequence& s = *slice.sequence;
  begin = std::max(begin, s.computed);
  end = std::min(end, s.computed + slice.count);
  if (begin >= end) return;
  const int64_t first_row = step.rows(), first_logits = s.computed + slice.count - slice.logits;
  step.Add(role, s.tokens.data() + begin, end - begin, begin, s.block_table.data());
  for (int64_t i = std::max(begin, first_logits); i < end; ++i)
    step.logit_rows.push_back(static_cast<int32_t>(first_row + i - begin));
}

}  // namespace

Status BuildStep(std::span<const Slice> slices, int64_t block_size, BlockPool& pool, Step& step) {
  step.Clear();
  for (const Slice& slice : slices) {
    Sequence& s = *slice.sequence;
    HADAL_CHECK(slice.count >= 1 && slice.count <= s.pending() && slice.logits <= slice.count,
                "{} tokens with {} rows of logits, {} pending", slice.count, slice.logits, s.pending());
    RETURN_IF_ERROR(pool.Extend(s.block_table, (s.computed + slice.count + block_size - 1) / block_size));
  }
  for (const Slice& slice : slices) AddPart(slice, Run::Role::kPrompt, 0, slice.sequence->prompt_length, step);
  for (const Slice& slice : slices)
    AddPart(slice, Run::Role::kGenerated, slice.sequence->prompt_length, slice.sequence->length(), step);
  return {};
}

int64_t StepRow(const Step& step, const Sequence& sequence, int64_t index) {
  for (const Run& run : step.runs) {
    if (run.block_table != sequence.block_table.data()) continue;
    if (index < run.first_position || index >= run.first_position + run.count) continue;
    return run.first_row + index - run.first_position;
  }
  HADAL_CHECK(false, "token {} is not in the step", index);
  return 0;
}

int64_t LogitRow(const Step& step, const Sequence& sequence, int64_t index) {
  const int32_t row = static_cast<int32_t>(StepRow(step, sequence, index));
  const auto found = std::lower_bound(step.logit_rows.begin(), step.logit_rows.end(), row);
  HADAL_CHECK(found != step.logit_rows.end() && *found == row, "no logits of token {}", index);
  return found - step.logit_rows.begin();
}

void FinishStep(std::span<const Slice> slices) {
  for (const Slice& slice : slices) slice.sequence->computed += slice.count;
}

}  // namespace hadal
