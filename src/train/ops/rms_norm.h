// y = x r w, r = 1 / sqrt(mean(x^2) + eps)   (arXiv 1910.07467).
#pragma once

#include "train/ops/context.h"

namespace hadal::train {

/// x, y: [T, D], y may be x; w: [D]; rstd: [T], r of each row, kept for the backward.
template <typename T>
void RmsNormForward(const OpContext& ctx, View<const T> x, const T* w, double eps, View<T> y, T* rstd);

/// dx (+)= r (w∘dy - x̂ mean(w∘dy∘x̂)), dw [D] += sum_t dy∘x̂, x̂ = x r; t ascending.
/// dy, x, dx: [T, D]; dx may be dy where it does not accumulate.
template <typename T>
void RmsNormBackward(const OpContext& ctx, View<const T> dy, View<const T> x, const T* w, const T* rstd,
                     View<T> dx, bool accumulate_dx, T* dw);

}  // namespace hadal::train
