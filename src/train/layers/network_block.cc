#include "train/layers/network_block.h"

#include "train/ops/linear.h"
#include "train/ops/swiglu.h"

namespace hadal::train {

template <typename T>
void NetworkSaved<T>::Take(Arena& arena, int64_t width, int64_t rows) {
  gate = arena.Take<T>(rows, width);
  up = arena.Take<T>(rows, width);
  hidden = arena.Take<T>(rows, width);
}

template <typename T>
void NetworkExpand(const OpContext& ops, const NetworkParameters<T>& p, View<const T> x, NetworkSaved<T>& s) {
  LinearForward<T>(ops, x, p.gate.weight(), s.gate);
  LinearForward<T>(ops, x, p.up.weight(), s.up);
  SwiGluForward<T>(ops, s.gate, s.up, s.hidden);
}

template <typename T>
void NetworkBackward(const OpContext& ops, const NetworkParameters<T>& p, View<const T> x,
                     const NetworkSaved<T>& s, View<const T> dout, View<T> dgate, View<T> dup, View<T> dx,
                     bool accumulate) {
  LinearBackwardInput<T>(ops, dout, p.down.weight(), dgate, false);  // of the hidden state
  LinearBackwardWeight<T>(ops, dout, s.hidden, p.down.grad);
  SwiGluBackward<T>(ops, dgate, s.gate, s.up, dgate, dup);
  LinearBackwardInput<T>(ops, dgate, p.gate.weight(), dx, accumulate);
  LinearBackwardInput<T>(ops, dup, p.up.weight(), dx, true);
  LinearBackwardWeight<T>(ops, dgate, x, p.gate.grad);
  LinearBackwardWeight<T>(ops, dup, x, p.up.grad);
}

#define HADAL_INSTANTIATE(T)                                                                     \
  template struct NetworkSaved<T>;                                                               \
  template void NetworkExpand<T>(const OpContext&, const NetworkParameters<T>&, View<const T>,   \
                                 NetworkSaved<T>&);                                              \
  template void NetworkBackward<T>(const OpContext&, const NetworkParameters<T>&, View<const T>, \
                                   const NetworkSaved<T>&, View<const T>, View<T>, View<T>, View<T>, bool);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
