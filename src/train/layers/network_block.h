// One SwiGLU network, forward and backward, its width split over tensor-parallel ranks: of a dense layer, or
// the shared experts. Results are this rank's part of a sum.
#pragma once

#include "train/layers/arena.h"
#include "train/layers/layer_context.h"
#include "train/layers/parameters.h"

namespace hadal::train {

/// [T, width]: all of it can be computed again from the network's input.
template <typename T>
struct NetworkSaved {
  View<T> gate, up, hidden;
  void Take(Arena& arena, int64_t width, int64_t rows);
};

/// saved = silu(x gate^T)∘(x up^T) and its parts. x: [T, d].
template <typename T>
void NetworkExpand(const OpContext& ops, const NetworkParameters<T>& p, View<const T> x,
                   NetworkSaved<T>& saved);
/// dx (+)= this rank's part of the gradient; gradients of parameters are added. dout: [T, d]. dgate, dup:
/// scratch [T, width].
template <typename T>
void NetworkBackward(const OpContext& ops, const NetworkParameters<T>& p, View<const T> x,
                     const NetworkSaved<T>& saved, View<const T> dout, View<T> dgate, View<T> dup, View<T> dx,
                     bool accumulate);

}  // namespace hadal::train
