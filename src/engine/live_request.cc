#include "engine/live_request.h"

#include <algorithm>

#include "engine/logprobs.h"

namespace hadal {

Result<std::unique_ptr<LiveRequest>> LiveRequest::Create(GenerationRequest request, int64_t vocab_size,
                                                         int64_t context, int64_t block_size) {
  ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(std::move(request.params), vocab_size));
  std::unique_ptr<LiveRequest> live(new LiveRequest(std::move(request), std::move(sampler)));
  Sequence& s = live->sequence;
  s.tokens = std::move(live->request.prompt);
  s.prompt_length = s.length();
  for (const int32_t id : s.tokens) live->sampler.Observe(id, /*is_prompt=*/true);
  live->most_tokens = std::min(s.prompt_length + live->sampler.params().max_tokens, context);
  s.tokens.reserve(static_cast<size_t>(live->most_tokens));
  s.block_table.reserve(static_cast<size_t>((context + block_size - 1) / block_size));
  live->event.top.reserve(static_cast<size_t>(std::max(live->request.logprobs, 0)));
  live->priority = live->request.priority;
  live->usage.prompt = s.prompt_length;
  return live;
}

void LiveRequest::Draw(std::span<const float> logits, SamplerScratch& scratch) {
  std::span<const uint64_t> allowed;
  waits = false;
  if (request.constraint) {
    const Result<bool> ready = request.constraint->Prepare(mask_work);
    if (!ready) return Fail(ready.error());
    waits = !*ready;
    if (waits) return;
    if (request.constraint->MustEnd()) return End(FinishReason::kStop);
    const auto mask = request.constraint->Allowed();
    if (!mask) return Fail(mask.error());
    allowed = *mask;
  }
  const Result<int32_t> token =
      sampler.Sample(logits, static_cast<uint64_t>(sequence.length()), scratch, allowed);
  if (!token) return Fail(token.error());
  event.token = *token;
  if (request.logprobs < 0) return;
  const LogSoftmax distribution(logits);
  event.logprob = distribution[*token];
  distribution.Top(request.logprobs, event.top);
}

int32_t LiveRequest::Guess(std::span<const float> logits, SamplerScratch& scratch) {
  std::span<const uint64_t> allowed;
  if (request.constraint) {
    // Draw asks for the same mask, which is kept.
    if (!request.constraint->Prepare(mask_work).value_or(false) || request.constraint->MustEnd()) return -1;
    const auto mask = request.constraint->Allowed();
    if (!mask) return -1;
    allowed = *mask;
  }
  return sampler.Sample(logits, static_cast<uint64_t>(sequence.length()), scratch, allowed).value_or(-1);
}

void LiveRequest::Accept(int64_t context) {
  if (event.finished) return;
  const auto& stops = request.stop_ids;
  if (!sampler.params().ignore_eos && std::find(stops.begin(), stops.end(), event.token) != stops.end())
    return End(FinishReason::kStop);
  sequence.tokens.push_back(event.token);
  sampler.Observe(event.token, /*is_prompt=*/false);
  ++usage.generated;
  const bool enough = usage.generated >= sampler.params().max_tokens;
  event.finished = enough || sequence.length() >= context;
  event.reason = enough ? FinishReason::kLength : FinishReason::kContext;
  if (!request.constraint) return;
  request.constraint->Accept(event.token);
  // The end token would be the only one left: it needs no step of its own.
  if (request.constraint->MustEnd()) {
    event.finished = true;
    event.reason = FinishReason::kStop;
  }
}

void LiveRequest::End(FinishReason reason) {
  event.token = -1;
  event.logprob = 0;
  event.top.clear();
  event.finished = true;
  event.reason = reason;
}

void LiveRequest::Fail(Error error) {
  End(FinishReason::kError);
  event.error = std::move(error);
}

}  // namespace hadal
