// h = silu(gate)∘up, and sums of rows.
#pragma once

#include "train/ops/context.h"

namespace hadal::train {

/// All [T, D]; h may be gate or up.
template <typename T>
void SwiGluForward(const OpContext& ctx, View<const T> gate, View<const T> up, View<T> h);

/// dgate = dh∘up∘σ(g)(1 + g(1 - σ(g))), dup = dh∘g∘σ(g). All [T, D]; dgate and dup may be any of the inputs,
/// and are distinct.
template <typename T>
void SwiGluBackward(const OpContext& ctx, View<const T> dh, View<const T> gate, View<const T> up,
                    View<T> dgate, View<T> dup);

/// y += x. Both [T, D].
template <typename T>
void Add(const OpContext& ctx, View<const T> x, View<T> y);

}  // namespace hadal::train
