#include "model/step.h"

#include "base/check.h"

namespace hadal {

void Step::Clear() {
  tokens.clear();
  positions.clear();
  runs.clear();
  logit_rows.clear();
}

void Step::Reserve(int64_t most_tokens, int64_t logits, int64_t runs_at_most) {
  tokens.reserve(static_cast<size_t>(most_tokens));
  positions.reserve(static_cast<size_t>(most_tokens));
  logit_rows.reserve(static_cast<size_t>(logits));
  runs.reserve(static_cast<size_t>(runs_at_most));
}

void Step::Add(Run::Role role, const int32_t* ids, int64_t count, int64_t first_position,
               const int32_t* block_table) {
  HADAL_CHECK(role == Run::Role::kGenerated || runs.empty() || runs.back().role == Run::Role::kPrompt,
              "a prompt run after a generated one");
  runs.push_back({role, rows(), count, first_position, block_table});
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(ids[i]);
    positions.push_back(static_cast<int32_t>(first_position + i));
  }
}

}  // namespace hadal
