// Choice of experts (arXiv 2412.19437, section 2.1.2; arXiv 2405.04434, section 2.2), exactly as serving
// makes it, and what keeps the experts' load even.
#pragma once

#include <span>

#include "model/config.h"
#include "train/ops/context.h"

namespace hadal::train {

/// As hadal::RouteTokens (model/moe.h), which gives the formulas; computed in double, for float and double
/// logits. logits: [T, E]; bias: [E] or null; ids: out [T, K]; weights: out [T, K]; scores: out [T, E],
/// sigmoid or softmax of the logits, kept for the backward. A NaN logit gives kDataLoss, naming the row.
template <typename T>
Status RouterForward(const OpContext& ctx, const ModelConfig& config, View<const T> logits, const T* bias,
                     View<int32_t> ids, View<T> weights, View<T> scores);

/// dlogits += gradient of <dweights, weights>, the selection frozen; the bias has no gradient.
///   normalised:  ds_i = (α/Σ)(dw_i - Σ_j dw_j s_j / Σ) over the selected; else ds_i = α dw_i
///   sigmoid:     dz = ds s (1 - s);   softmax: dz = s (ds - Σ_j ds_j s_j), over all experts
/// scores, dlogits: [T, E]; ids, dweights: [T, K].
template <typename T>
void RouterBackward(const OpContext& ctx, const ModelConfig& config, View<const T> scores,
                    View<const int32_t> ids, View<const T> dweights, View<T> dlogits);

/// The sequence-wise balance loss (arXiv 2412.19437, eq. 17-20), summed over sequences:
///   f_i = E / (K L) · tokens that chose i (ids as they are, bias included; no gradient),
///   P_i = mean_t of s_i / Σ_j s_j,  loss = α Σ_i f_i P_i
/// Sequence b holds rows [bounds[b], bounds[b + 1]), L of them; bounds: [sequences + 1]; an empty one counts
/// 0. Adds the gradient to dlogits [T, E] and returns the loss. α of 0 changes nothing.
template <typename T>
double SequenceBalance(const OpContext& ctx, const ModelConfig& config, double alpha,
                       std::span<const int32_t> bounds, View<const T> scores, View<const int32_t> ids,
                       View<T> dlogits);

/// counts[e] += how often e was chosen.
void CountChoices(View<const int32_t> ids, std::span<int64_t> counts);
/// The aux-loss-free update after a step: bias_i += γ · sign(mean of counts - counts_i). counts, bias: [E].
template <typename T>
void UpdateBias(std::span<const int64_t> counts, double gamma, std::span<T> bias);

}  // namespace hadal::train
