// One token's choice of experts, for serving and training alike; model/moe.h gives the formulas.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace hadal {

/// How a selected expert's weight follows from its score: factor * s_i, divided by (sum of selected s +
/// 1e-20) where `normalised`.
struct RouteScale {
  bool normalised = false;
  double factor = 1;
};
RouteScale RouteScaleOf(const ModelConfig& config);

/// logits: [E]; bias: [E] or null; ids, weights: out [K], as RouteTokens; scores: out [E]. Computed in
/// double. T is float or double. At most kMaxExperts experts in kMaxExpertGroups groups.
template <typename T>
void RouteToken(const ModelConfig& config, const T* logits, const T* bias, int32_t* ids, T* weights,
                double* scores);

}  // namespace hadal
