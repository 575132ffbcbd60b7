#include "train/ops/rms_norm.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::train {

template <typename T>
void RmsNormForward(const OpContext& ctx, View<const T> x, const T* w, double eps, View<T> y, T* rstd) {
  HADAL_CHECK_EQ(x.rows, y.rows);
  HADAL_CHECK_EQ(x.cols, y.cols);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  ForRows(ctx, x.rows, x.cols,
          [&](int64_t t) { rstd[t] = rows.rms_norm(x.row(t), w, static_cast<T>(eps), x.cols, y.row(t)); });
}

template <typename T>
void RmsNormBackward(const OpContext& ctx, View<const T> dy, View<const T> x, const T* w, const T* rstd,
                     View<T> dx, bool accumulate_dx, T* dw) {
  HADAL_CHECK(dy.rows == x.rows && dx.rows == x.rows && dy.cols == x.cols && dx.cols == x.cols,
              "x [{}, {}], dy [{}, {}], dx [{}, {}]", x.rows, x.cols, dy.rows, dy.cols, dx.rows, dx.cols);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  // The weight first: dx may overwrite dy. A unit has some columns of all rows, so that rows are summed in
  // order.
  constexpr int64_t kColumns = 128;
  ctx.pool().For((x.cols + kColumns - 1) / kColumns, [&](int64_t unit, int) {
    const int64_t first = unit * kColumns, width = std::min(kColumns, x.cols - first);
    for (int64_t t = 0; t < x.rows; ++t)
      rows.rms_norm_dw(dy.row(t) + first, x.row(t) + first, rstd[t], width, dw + first);
  });
  ForRows(ctx, x.rows, x.cols, [&](int64_t t) {
    rows.rms_norm_dx(dy.row(t), x.row(t), w, rstd[t], accumulate_dx, x.cols, dx.row(t));
  });
}

#define HADAL_INSTANTIATE(T)                                                                                 \
  template void RmsNormForward(const OpContext&, View<const T>, const T*, double, View<T>, T*);              \
  template void RmsNormBackward(const OpContext&, View<const T>, View<const T>, const T*, const T*, View<T>, \
                                bool, T*);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
