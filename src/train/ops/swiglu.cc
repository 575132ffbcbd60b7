#include "train/ops/swiglu.h"

#include "base/check.h"

namespace hadal::train {
namespace {

template <typename A, typename B>
void CheckSame(const View<A>& a, const View<B>& b) {
  HADAL_CHECK(a.rows == b.rows && a.cols == b.cols, "[{}, {}] against [{}, {}]", a.rows, a.cols, b.rows,
              b.cols);
}

}  // namespace

template <typename T>
void SwiGluForward(const OpContext& ctx, View<const T> gate, View<const T> up, View<T> h) {
  CheckSame(gate, up);
  CheckSame(gate, h);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  ForRows(ctx, h.rows, h.cols, [&](int64_t t) { rows.swiglu(gate.row(t), up.row(t), h.cols, h.row(t)); });
}

template <typename T>
void SwiGluBackward(const OpContext& ctx, View<const T> dh, View<const T> gate, View<const T> up,
                    View<T> dgate, View<T> dup) {
  CheckSame(dh, gate);
  CheckSame(dh, up);
  CheckSame(dh, dgate);
  CheckSame(dh, dup);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  ForRows(ctx, dh.rows, dh.cols, [&](int64_t t) {
    rows.swiglu_backward(dh.row(t), gate.row(t), up.row(t), dh.cols, dgate.row(t), dup.row(t));
  });
}

template <typename T>
void Add(const OpContext& ctx, View<const T> x, View<T> y) {
  CheckSame(x, y);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  ForRows(ctx, y.rows, y.cols, [&](int64_t t) { rows.add(x.row(t), y.cols, y.row(t)); });
}

#define HADAL_INSTANTIATE(T)                                                                           \
  template void SwiGluForward(const OpContext&, View<const T>, View<const T>, View<T>);                \
  template void SwiGluBackward(const OpContext&, View<const T>, View<const T>, View<const T>, View<T>, \
                               View<T>);                                                               \
  template void Add(const OpContext&, View<const T>, View<T>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
