// loss[t] = log Σ_v exp(logits[t, v]) - logits[t, target[t]], over a vocabulary that may be split over ranks:
// each rank has logits [T, V / ranks] of the ids from `first` on. Between the phases the caller reduces over
// the ranks: the maximum, then the two sums (in a fixed order). One rank alone calls the three phases in a
// row.
//
// targets: [T]; a negative one is ignored: its loss and its gradients are zero.
#pragma once

#include <span>

#include "train/ops/context.h"

namespace hadal::train {

/// top[t] = max_v logits[t, v]; NaN if there is one.
template <typename T>
void CrossEntropyMax(const OpContext& ctx, View<const T> logits, std::span<T> top);

/// sums[t] = Σ_v exp(logits[t, v] - top[t]); target_logits[t] = logits[t, targets[t] - first], or 0 where
/// another shard has it.
template <typename T>
void CrossEntropySums(const OpContext& ctx, View<const T> logits, std::span<const int32_t> targets,
                      int64_t first, std::span<const T> top, std::span<T> sums, std::span<T> target_logits);

/// loss[t] = log(sums[t]) + top[t] - target_logits[t], and in place of the logits their gradient
/// (softmax - onehot) weights[t], with the reduced top, sums and target_logits. loss does not count the
/// weight.
template <typename T>
void CrossEntropyFinish(const OpContext& ctx, std::span<const int32_t> targets, int64_t first,
                        std::span<const T> top, std::span<const T> sums, std::span<const T> target_logits,
                        std::span<const T> weights, View<T> logits, std::span<T> loss);

}  // namespace hadal::train
