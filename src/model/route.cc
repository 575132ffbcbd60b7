#include "model/route.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "model/moe.h"

namespace hadal {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// Scores [E] of one token, in double: sigmoid, or softmax over all experts.
template <typename T>
void Scores(Scoring scoring, const T* logits, int64_t experts, double* scores) {
  if (scoring == Scoring::kSigmoid) {
    for (int64_t e = 0; e < experts; ++e) scores[e] = 1.0 / (1.0 + std::exp(-static_cast<double>(logits[e])));
    return;
  }
  const double top = *std::max_element(logits, logits + experts);
  double sum = 0;
  for (int64_t e = 0; e < experts; ++e) sum += scores[e] = std::exp(static_cast<double>(logits[e]) - top);
  for (int64_t e = 0; e < experts; ++e) scores[e] /= sum;
}

/// Sets the choice of every expert outside the best topk_group groups to kNever.
void KeepBestGroups(const ModelConfig& c, double* choice) {
  if (c.topk_method == TopkMethod::kGreedy || c.n_group <= 1 || c.topk_group >= c.n_group) return;
  const int64_t size = c.n_routed_experts / c.n_group;
  double group[kMaxExpertGroups];
  for (int64_t g = 0; g < c.n_group; ++g) {
    double best = kNever, second = kNever;
    for (int64_t e = g * size; e < (g + 1) * size; ++e) {
      if (choice[e] > best) {
        second = best;
        best = choice[e];
      } else if (choice[e] > second) {
        second = choice[e];
      }
    }
    group[g] = c.topk_method == TopkMethod::kNoauxTc ? best + second : best;
  }
  bool kept[kMaxExpertGroups] = {};
  for (int64_t i = 0; i < c.topk_group; ++i) {
    int64_t best = -1;
    for (int64_t g = 0; g < c.n_group; ++g)
      if (!kept[g] && (best < 0 || group[g] > group[best])) best = g;
    kept[best] = true;
  }
  for (int64_t e = 0; e < c.n_routed_experts; ++e)
    if (!kept[e / size]) choice[e] = kNever;
}

}  // namespace

RouteScale RouteScaleOf(const ModelConfig& c) {
  // V2's code leaves a single expert's weight as it is, and normalises or scales; V3's always divides, and
  // does both.
  const bool v3 = c.architecture == Architecture::kDeepseekV3;
  const bool normalised = c.norm_topk_prob && (c.num_experts_per_tok > 1 || v3);
  return {normalised, v3 || !normalised ? c.routed_scaling_factor : 1.0};
}

template <typename T>
void RouteToken(const ModelConfig& c, const T* logits, const T* bias, int32_t* ids, T* weights,
                double* scores) {
  const int64_t experts = c.n_routed_experts, k = c.num_experts_per_tok;
  double choice[kMaxExperts];
  Scores(c.scoring_func, logits, experts, scores);
  for (int64_t e = 0; e < experts; ++e) choice[e] = scores[e] + (bias ? bias[e] : T{0});
  KeepBestGroups(c, choice);
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int64_t best = std::max_element(choice, choice + experts) - choice;
    ids[i] = static_cast<int32_t>(best);
    sum += scores[best];
    choice[best] = kNever;
  }
  const RouteScale scale = RouteScaleOf(c);
  double factor = scale.normalised ? 1.0 / (sum + 1e-20) : 1.0;
  factor *= scale.factor;
  for (int64_t i = 0; i < k; ++i) weights[i] = static_cast<T>(scores[ids[i]] * factor);
}

template void RouteToken(const ModelConfig&, const float*, const float*, int32_t*, float*, double*);
template void RouteToken(const ModelConfig&, const double*, const double*, int32_t*, double*, double*);

Status RouteTokens(ExecContext& ctx, const ModelConfig& c, View<const float> logits, const float* bias,
                   View<int32_t> ids, View<float> weights) {
  HADAL_CHECK(c.n_routed_experts <= kMaxExperts && c.n_group <= kMaxExpertGroups, "{} experts in {} groups",
              c.n_routed_experts, c.n_group);
  for (int64_t t = 0; t < logits.rows; ++t)
    for (int64_t e = 0; e < logits.cols; ++e)
      if (std::isnan(logits.at(t, e)))
        return DataLoss(
            "router logit of expert {} is NaN in row {} of the step; the weights or the state are corrupt", e,
            t);
  const auto route = [&](int64_t t, int) {
    double scores[kMaxExperts];
    RouteToken(c, logits.row(t), bias, ids.row(t), weights.row(t), scores);
  };
  if (logits.rows < 8) {
    for (int64_t t = 0; t < logits.rows; ++t) route(t, 0);
  } else {
    ctx.pool().For(logits.rows, route);
  }
  return {};
}

}  // namespace hadal
