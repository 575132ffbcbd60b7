#include "engine/step_cost.h"

#include <algorithm>

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

void RouteCount::OnRoutes(int64_t, View<const int32_t> ids, View<const float>) {
  std::fill(seen_.begin(), seen_.end(), 0);
  for (int64_t t = 0; t < ids.rows; ++t)
    for (int64_t i = 0; i < ids.cols; ++i) seen_[static_cast<size_t>(ids.at(t, i))] = 1;
  distinct_ += std::count(seen_.begin(), seen_.end(), 1);
}

DecodeCost::DecodeCost(const ModelConfig& c, const Weights& weights, const KvCache& cache)
    : token_(static_cast<double>(weights.embedding.hidden * DTypeBits(weights.embedding.dtype) / 8)),
      expert_(static_cast<double>(ExpertBytes(weights))),
      position_(static_cast<double>(c.num_hidden_layers * cache.layer(0).row_bytes())) {
  const double routed_in_one = static_cast<double>(MoeLayers(weights) * c.num_experts_per_tok);
  const double one = static_cast<double>(weights.BytesPerToken(c)), head = static_cast<double>(weights.head.bytes());
  fixed_ = one - routed_in_one * expert_ - token_;
  const double layer = (one - token_ - head) / static_cast<double>(c.num_hidden_layers);
  guess_share_ = std::min((token_ + routed_in_one * expert_ + layer + head) / one, 1.0);
}

}  // namespace hadal
