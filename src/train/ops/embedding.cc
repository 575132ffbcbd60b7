#include "train/ops/embedding.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::train {

template <typename T>
void EmbeddingForward(const OpContext& ctx, View<const T> table, int64_t first, std::span<const int32_t> ids,
                      View<T> out) {
  HADAL_CHECK(table.cols == out.cols && out.rows == static_cast<int64_t>(ids.size()),
              "{} ids, a table of width {}, out [{}, {}]", ids.size(), table.cols, out.rows, out.cols);
  ForRows(ctx, out.rows, out.cols, [&](int64_t t) {
    const int64_t row = ids[static_cast<size_t>(t)] - first;
    if (row >= 0 && row < table.rows)
      std::copy_n(table.row(row), out.cols, out.row(t));
    else
      std::fill_n(out.row(t), out.cols, T{0});
  });
}

template <typename T>
void EmbeddingBackward(const OpContext& ctx, View<const T> dout, int64_t first, std::span<const int32_t> ids,
                       View<T> dtable) {
  HADAL_CHECK(dtable.cols == dout.cols && dout.rows == static_cast<int64_t>(ids.size()),
              "{} ids, a table of width {}, dout [{}, {}]", ids.size(), dtable.cols, dout.rows, dout.cols);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  // A unit has some columns of all tokens: an id that comes twice is summed in the order of the tokens.
  constexpr int64_t kColumns = 64;
  ctx.pool().For((dout.cols + kColumns - 1) / kColumns, [&](int64_t unit, int) {
    const int64_t column = unit * kColumns, width = std::min(kColumns, dout.cols - column);
    for (int64_t t = 0; t < dout.rows; ++t) {
      const int64_t row = ids[static_cast<size_t>(t)] - first;
      if (row >= 0 && row < dtable.rows) rows.add(dout.row(t) + column, width, dtable.row(row) + column);
    }
  });
}

#define HADAL_INSTANTIATE(T)                                                                          \
  template void EmbeddingForward(const OpContext&, View<const T>, int64_t, std::span<const int32_t>,  \
                                 View<T>);                                                            \
  template void EmbeddingBackward(const OpContext&, View<const T>, int64_t, std::span<const int32_t>, \
                                  View<T>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
