#include "train/ops/router.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/route.h"

namespace hadal::train {
namespace {

template <typename T>
void CheckRouter(const ModelConfig& c, View<const T> scores, View<const int32_t> ids) {
  HADAL_CHECK(c.n_routed_experts <= kMaxExperts && c.n_group <= kMaxExpertGroups, "{} experts in {} groups",
              c.n_routed_experts, c.n_group);
  HADAL_CHECK(
      scores.cols == c.n_routed_experts && ids.cols == c.num_experts_per_tok && ids.rows == scores.rows,
      "scores [{}, {}] and ids [{}, {}] of {} experts, {} a token", scores.rows, scores.cols, ids.rows,
      ids.cols, c.n_routed_experts, c.num_experts_per_tok);
}

/// dlogits += the gradient of the logits, given that of all scores of a token.
template <typename T>
void ScoresBackward(Scoring scoring, const T* scores, const double* ds, int64_t experts, T* dlogits) {
  double mean = 0;  // softmax: the gradient's mean over the probabilities
  if (scoring == Scoring::kSoftmax)
    for (int64_t e = 0; e < experts; ++e) mean += ds[e] * scores[e];
  for (int64_t e = 0; e < experts; ++e) {
    const double s = scores[e];
    dlogits[e] += static_cast<T>(scoring == Scoring::kSigmoid ? ds[e] * s * (1 - s) : s * (ds[e] - mean));
  }
}

template <typename T>
double RowSum(const T* x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += x[i];
  return sum;
}

}  // namespace

template <typename T>
Status RouterForward(const OpContext& ctx, const ModelConfig& c, View<const T> logits, const T* bias,
                     View<int32_t> ids, View<T> weights, View<T> scores) {
  CheckRouter<T>(c, scores, ids);
  HADAL_CHECK(logits.rows == ids.rows && logits.cols == scores.cols && weights.rows == ids.rows &&
                  weights.cols == ids.cols,
              "logits [{}, {}], weights [{}, {}]", logits.rows, logits.cols, weights.rows, weights.cols);
  for (int64_t t = 0; t < logits.rows; ++t)
    for (int64_t e = 0; e < logits.cols; ++e)
      if (std::isnan(logits.at(t, e)))
        return DataLoss("router logit of expert {} is NaN in row {}; the weights or the state are corrupt", e,
                        t);
  ForRows(ctx, logits.rows, logits.cols * 32, [&](int64_t t) {
    double precise[kMaxExperts];
    RouteToken(c, logits.row(t), bias, ids.row(t), weights.row(t), precise);
    for (int64_t e = 0; e < scores.cols; ++e) scores.at(t, e) = static_cast<T>(precise[e]);
  });
  return {};
}

template <typename T>
void RouterBackward(const OpContext& ctx, const ModelConfig& c, View<const T> scores, View<const int32_t> ids,
                    View<const T> dweights, View<T> dlogits) {
  CheckRouter<T>(c, scores, ids);
  CheckRouter<T>(c, dlogits, ids);
  HADAL_CHECK(dweights.rows == ids.rows && dweights.cols == ids.cols, "dweights [{}, {}]", dweights.rows,
              dweights.cols);
  const RouteScale scale = RouteScaleOf(c);
  ForRows(ctx, ids.rows, scores.cols * 8, [&](int64_t t) {
    const T* s = scores.row(t);
    double sum = 1, mean = 0;  // of the selected scores; of their gradients, weighted by them
    if (scale.normalised) {
      sum = 1e-20;
      for (int64_t i = 0; i < ids.cols; ++i) sum += s[ids.at(t, i)];
      for (int64_t i = 0; i < ids.cols; ++i) mean += double{dweights.at(t, i)} * s[ids.at(t, i)] / sum;
    }
    double ds[kMaxExperts];
    std::fill_n(ds, scores.cols, 0.0);
    for (int64_t i = 0; i < ids.cols; ++i) ds[ids.at(t, i)] = scale.factor / sum * (dweights.at(t, i) - mean);
    ScoresBackward(c.scoring_func, s, ds, scores.cols, dlogits.row(t));
  });
}

namespace {

/// One sequence's loss, and its gradient added to dlogits; all views have the sequence's rows.
template <typename T>
double BalanceOne(const OpContext& ctx, const ModelConfig& c, double alpha, View<const T> scores,
                  View<const int32_t> ids, View<T> dlogits) {
  const int64_t experts = scores.cols, length = scores.rows;
  double load[kMaxExperts], share[kMaxExperts];  // f_i, and the sum over tokens of P_i
  std::fill_n(load, experts, 0.0);
  std::fill_n(share, experts, 0.0);
  for (int64_t t = 0; t < length; ++t) {
    const double sum = RowSum(scores.row(t), experts);
    for (int64_t e = 0; e < experts; ++e) share[e] += scores.at(t, e) / sum;
    for (int64_t i = 0; i < ids.cols; ++i) load[ids.at(t, i)] += 1;
  }
  const double per_choice = static_cast<double>(experts) / static_cast<double>(ids.cols * length);
  double loss = 0;
  for (int64_t e = 0; e < experts; ++e) {
    load[e] *= per_choice;
    loss += alpha * load[e] * share[e] / static_cast<double>(length);
  }
  const double gain = alpha / static_cast<double>(length);
  ForRows(ctx, length, experts * 8, [&](int64_t t) {
    const double sum = RowSum(scores.row(t), experts);
    double mean = 0, ds[kMaxExperts];
    for (int64_t e = 0; e < experts; ++e) mean += gain * load[e] * scores.at(t, e) / sum;
    for (int64_t e = 0; e < experts; ++e) ds[e] = (gain * load[e] - mean) / sum;
    ScoresBackward(c.scoring_func, scores.row(t), ds, experts, dlogits.row(t));
  });
  return loss;
}

}  // namespace

template <typename T>
double SequenceBalance(const OpContext& ctx, const ModelConfig& c, double alpha,
                       std::span<const int32_t> bounds, View<const T> scores, View<const int32_t> ids,
                       View<T> dlogits) {
  CheckRouter<T>(c, scores, ids);
  CheckRouter<T>(c, dlogits, ids);
  double loss = 0;
  for (size_t b = 0; alpha != 0 && b + 1 < bounds.size(); ++b) {
    const int64_t first = bounds[b], length = bounds[b + 1] - bounds[b];
    if (length > 0)
      loss += BalanceOne<T>(ctx, c, alpha, scores.Rows(first, length), ids.Rows(first, length),
                            dlogits.Rows(first, length));
  }
  return loss;
}

void CountChoices(View<const int32_t> ids, std::span<int64_t> counts) {
  for (int64_t t = 0; t < ids.rows; ++t)
    for (int64_t i = 0; i < ids.cols; ++i) ++counts[static_cast<size_t>(ids.at(t, i))];
}

template <typename T>
void UpdateBias(std::span<const int64_t> counts, double gamma, std::span<T> bias) {
  HADAL_CHECK_EQ(counts.size(), bias.size());
  int64_t total = 0;
  for (int64_t count : counts) total += count;
  const int64_t experts = static_cast<int64_t>(counts.size());
  for (size_t e = 0; e < counts.size(); ++e) {
    const int64_t above = counts[e] * experts - total;  // compared without rounding
    if (above != 0) bias[e] += static_cast<T>(above < 0 ? gamma : -gamma);
  }
}

#define HADAL_INSTANTIATE(T)                                                                              \
  template Status RouterForward(const OpContext&, const ModelConfig&, View<const T>, const T*,            \
                                View<int32_t>, View<T>, View<T>);                                         \
  template void RouterBackward(const OpContext&, const ModelConfig&, View<const T>, View<const int32_t>,  \
                               View<const T>, View<T>);                                                   \
  template double SequenceBalance(const OpContext&, const ModelConfig&, double, std::span<const int32_t>, \
                                  View<const T>, View<const int32_t>, View<T>);                           \
  template void UpdateBias(std::span<const int64_t>, double, std::span<T>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
