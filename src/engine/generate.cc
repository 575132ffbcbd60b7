#include "engine/generate.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {

void SetPrompt(Sequence& sequence, std::vector<int32_t> prompt) {
  HADAL_CHECK(!prompt.empty(), "an empty prompt");
  const auto differs = std::mismatch(sequence.tokens.begin(), sequence.tokens.end(), prompt.begin(), prompt.end());
  // The last token is computed anew in any case: its logits are wanted.
  sequence.computed = std::min({differs.first - sequence.tokens.begin(), sequence.computed, sequence.prompt_length,
                                static_cast<int64_t>(prompt.size()) - 1});
  sequence.tokens = std::move(prompt);
  sequence.prompt_length = sequence.length();
}

Status Prefill(Engine& engine, std::span<Sequence* const> sequences, std::vector<float>& logits) {
  const int64_t vocab = engine.config().vocab_size;
  logits.resize(sequences.size() * static_cast<size_t>(vocab));
  std::vector<Slice> slices;
  for (;;) {
    slices.clear();
    int64_t room = engine.pass().limits().tokens, rows = engine.pass().limits().logit_rows;
    for (Sequence* s : sequences) {
      int64_t count = std::min(room, s->pending());
      // A chunk that ends its sequence takes a row of logits; where none is left it stays one token short.
      if (count == s->pending() && rows == 0) --count;
      if (count <= 0) continue;
      const int64_t wanted = count == s->pending() ? 1 : 0;
      slices.push_back({s, count, wanted});
      room -= count;
      rows -= wanted;
    }
    if (slices.empty()) return {};
    ASSIGN_OR_RETURN(const View<const float> step_logits, engine.RunStep(slices));
    for (const Slice& slice : slices) {
      if (slice.logits == 0) continue;
      const auto which = std::find(sequences.begin(), sequences.end(), slice.sequence) - sequences.begin();
      const float* row = step_logits.row(LogitRow(engine.step(), *slice.sequence, slice.sequence->length() - 1));
      std::copy_n(row, vocab, logits.begin() + which * vocab);
    }
  }
}

Result<FinishReason> Generate(Engine& engine, Sequence& sequence, Sampler& sampler, SamplerScratch& scratch,
                              std::span<const int64_t> stop_ids, const std::function<bool(int32_t)>& on_token) {
  std::vector<float> logits;
  Sequence* const only[] = {&sequence};
  for (int64_t generated = 0; generated < sampler.params().max_tokens; ++generated) {
    if (sequence.length() >= engine.context()) return FinishReason::kContext;
    RETURN_IF_ERROR(Prefill(engine, only, logits));
    const auto candidates = std::span<const float>(logits).first(static_cast<size_t>(scratch.vocab_size()));
    ASSIGN_OR_RETURN(const int32_t token,
                     sampler.Sample(candidates, static_cast<uint64_t>(sequence.length()), scratch));
    if (!sampler.params().ignore_eos && std::find(stop_ids.begin(), stop_ids.end(), token) != stop_ids.end())
      return FinishReason::kStop;
    sequence.tokens.push_back(token);
    sampler.Observe(token, /*is_prompt=*/false);
    if (!on_token(token)) return FinishReason::kStop;
  }
  return FinishReason::kLength;
}

}  // namespace hadal
