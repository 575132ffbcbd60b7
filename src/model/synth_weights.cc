#include "model/synth_weights.h"

#include <cmath>

namespace hadal {

WeightDistribution DistributionOf(const TensorSpec& spec, const ModelConfig& config) {
  const auto root = [](int64_t x) { return std::sqrt(static_cast<float>(x)); };
  switch (spec.kind) {
    case TensorKind::kEmbedding:
      return {0, 1};
    case TensorKind::kHead:
      return {0, 2.5f / root(config.hidden_size)};
    case TensorKind::kNorm:
      return {1, 0.1f};
    case TensorKind::kRouterBias:
      return {0, 0.02f};
    case TensorKind::kRouter:
    case TensorKind::kMtpProjection:
      break;
    case TensorKind::kLinear:
      if (spec.name.ends_with(".o_proj.weight") || spec.name.ends_with(".down_proj.weight"))
        return {0, 1 / (root(spec.shape[1]) * root(2 * config.num_hidden_layers))};
      break;
  }
  return {0, 1 / root(spec.shape[1])};
}

}  // namespace hadal
