// Mixture of experts (arXiv 2412.19437, section 2.1.2; arXiv 2405.04434, section 2.2 for V2's routing).
#pragma once

#include "kernels/ops.h"
#include "model/activations.h"
#include "model/config.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal {

/// Chooses num_experts_per_tok experts per token, limited to topk_group expert groups.
///
///   V3: s = sigmoid(logits); select by s + bias; a group's score is the sum of its two best;
///       weight = routed_scaling_factor * s_i / (sum of selected s + 1e-20)
///   V2: s = softmax(logits); select by s; a group's score is its best;
///       weight = s_i normalised, or s_i * routed_scaling_factor (never both)
///
/// logits: [T, E]; bias: [E] or null; steers selection only, it never enters the weights.
/// ids: out [T, K], by descending selection score, ties to the lower id. weights: out [T, K].
/// A NaN logit gives kDataLoss, naming the row. No allocation.
Status RouteTokens(ExecContext& ctx, const ModelConfig& config, View<const float> logits, const float* bias,
                   View<int32_t> ids, View<float> weights);

/// a.branch = down(silu(gate x) * up x) of a.normed [T, d].
void DenseFeedForward(ExecContext& ctx, const FeedForwardWeights& w, int64_t rows, Activations& a);

/// a.branch = sum_i w_i E_i(x) + Shared(x) of a.normed [T, d]: tokens grouped by expert, all experts as one loop,
/// combined per token in the order of its routes.
Status MoeFeedForward(ExecContext& ctx, const ModelConfig& config, const MoeWeights& w, int64_t rows, int64_t layer,
                      Activations& a, ForwardObserver* observer);

}  // namespace hadal
