#include "engine/bench_cost.h"

#include <algorithm>

#include "model/parameters.h"

namespace hadal {
namespace {

int64_t ExpertBytes(const Weights& weights) {
  for (const LayerWeights& layer : weights.layers) {
    if (!layer.moe) continue;
    const FeedForwardWeights& expert = layer.moe->experts.front();
    return expert.gate.bytes() + expert.up.bytes() + expert.down.bytes();
  }
  return 0;
}

int64_t MoeLayers(const Weights& weights) {
  return std::count_if(weights.layers.begin(), weights.layers.end(),
                       [](const LayerWeights& layer) { return layer.moe.has_value(); });
}

}  // namespace

double PrefillOperations(const ModelConfig& c, int64_t count, int64_t depth) {
  const double tokens = static_cast<double>(count);
  const double head = static_cast<double>(c.vocab_size * c.hidden_size);
  const double linears = static_cast<double>(CountParameters(c).active_without_embedding) - head;
  const double pairs = tokens * static_cast<double>(depth) + tokens * (tokens + 1) / 2;
  const double pair =
      static_cast<double>(c.num_hidden_layers * 2 * c.num_attention_heads * (c.qk_head_dim() + c.v_head_dim));
  return 2 * linears * tokens + 2 * head + pair * pairs;
}

void RouteCount::OnRoutes(int64_t, View<const int32_t> ids, View<const float>) {
  std::fill(seen_.begin(), seen_.end(), 0);
  for (int64_t t = 0; t < ids.rows; ++t)
    for (int64_t i = 0; i < ids.cols; ++i) seen_[static_cast<size_t>(ids.at(t, i))] = 1;
  distinct_ += std::count(seen_.begin(), seen_.end(), 1);
}

double DecodeStepBytes(const ModelConfig& c, const Weights& weights, const KvCache& cache, int64_t batch,
                       double experts, double positions) {
  const double expert = static_cast<double>(ExpertBytes(weights));
  const double one = static_cast<double>(weights.BytesPerToken(c));
  const double routed_in_one = static_cast<double>(MoeLayers(weights) * c.num_experts_per_tok);
  const double embedding =
      static_cast<double>(weights.embedding.hidden * DTypeBits(weights.embedding.dtype) / 8);
  const double latents = static_cast<double>(c.num_hidden_layers * cache.layer(0).row_bytes()) * positions;
  return one + (experts - routed_in_one) * expert + static_cast<double>(batch - 1) * embedding +
         static_cast<double>(batch) * latents;
}

ArithmeticLimit LimitOf(const Weights& weights, const MachineLimits& limits) {
  const InputFormat input = weights.layers.front().attention.out.input;
  if (input == InputFormat::kInt8 && limits.int8_gops > 0) return {"int8_gops", limits.int8_gops};
  if (input == InputFormat::kBF16 && limits.bf16_gflops > 0) return {"bf16_gflops", limits.bf16_gflops};
  return {"f32_gflops", limits.f32_gflops};
}

}  // namespace hadal
