// Tokens to their experts and back. A token's K copies are summed in the order of its choices.
#pragma once

#include <span>
#include <vector>

#include "train/ops/context.h"

namespace hadal::train {

/// Where each token's copies go: rows sorted by expert, and within an expert by token (then choice).
class DispatchPlan {
 public:
  /// Memory for up to `rows` tokens of `choices` experts among `experts`; Build allocates nothing.
  DispatchPlan(int64_t rows, int64_t choices, int64_t experts);

  /// ids: [T, K]. Experts [first, first + offsets().size() - 1) are here; copies for others are dropped
  /// without being counted (they are another rank's). capacity: copies an expert takes, those of the first
  /// tokens; the rest is dropped; 0: no limit.
  void Build(View<const int32_t> ids, int64_t capacity, int64_t first = 0);

  /// [experts + 1]: where each expert's rows begin.
  std::span<const int32_t> offsets() const { return offsets_; }
  int64_t rows() const { return offsets_.back(); }
  /// [rows()]: the token of a row, and its choice.
  std::span<const int32_t> tokens() const { return {token_.data(), static_cast<size_t>(rows())}; }
  std::span<const int32_t> choices() const { return {choice_.data(), static_cast<size_t>(rows())}; }
  /// [T, K]: the row of a copy; -1: dropped.
  View<const int32_t> places() const { return places_view_; }
  /// Copies beyond an expert's capacity.
  int64_t dropped() const { return dropped_; }

 private:
  int64_t experts_;
  std::vector<int32_t> offsets_, taken_, token_, choice_, places_;
  View<const int32_t> places_view_;
  int64_t dropped_ = 0;
};

/// xs[row] = x[token of row]. x: [T, D]; xs: [plan.rows(), D] (may have more rows, which stay).
template <typename T>
void Gather(const OpContext& ctx, const DispatchPlan& plan, View<const T> x, View<T> xs);
/// dx[t] (+)= sum of dxs over t's copies, in the order of its choices.
template <typename T>
void GatherBackward(const OpContext& ctx, const DispatchPlan& plan, View<const T> dxs, View<T> dx,
                    bool accumulate);

/// out[t] (+)= sum_k weights[t, k] y[row of copy k], k ascending; dropped copies give nothing. y: [rows, D];
/// out: [T, D].
template <typename T>
void Combine(const OpContext& ctx, const DispatchPlan& plan, View<const T> y, View<const T> weights,
             View<T> out, bool accumulate);
/// dy[row] = weights[t, k] dout[t]; dweights[t, k] = <y[row], dout[t]>, 0 for a dropped copy. dy may be y.
template <typename T>
void CombineBackward(const OpContext& ctx, const DispatchPlan& plan, View<const T> dout, View<const T> y,
                     View<const T> weights, View<T> dy, View<T> dweights);

}  // namespace hadal::train
