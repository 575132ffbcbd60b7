#include "train/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace hadal::train {

template <typename T>
void CrossEntropyMax(const OpContext& ctx, View<const T> logits, std::span<T> top) {
  HADAL_CHECK_EQ(logits.rows, static_cast<int64_t>(top.size()));
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  ForRows(ctx, logits.rows, logits.cols,
          [&](int64_t t) { top[static_cast<size_t>(t)] = rows.max(logits.row(t), logits.cols); });
}

template <typename T>
void CrossEntropySums(const OpContext& ctx, View<const T> logits, std::span<const int32_t> targets,
                      int64_t first, std::span<const T> top, std::span<T> sums, std::span<T> target_logits) {
  const size_t tokens = static_cast<size_t>(logits.rows);
  HADAL_CHECK(targets.size() == tokens && top.size() == tokens && sums.size() == tokens &&
                  target_logits.size() == tokens,
              "{} rows of logits, {} targets, {} maxima, {} sums, {} target logits", tokens, targets.size(),
              top.size(), sums.size(), target_logits.size());
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  ForRows(ctx, logits.rows, logits.cols, [&](int64_t row) {
    const size_t t = static_cast<size_t>(row);
    const int64_t column = targets[t] - first;
    const bool here = targets[t] >= 0 && column >= 0 && column < logits.cols;
    target_logits[t] = here ? logits.at(row, column) : T{0};
    sums[t] = rows.sum_exp(logits.row(row), top[t], logits.cols);
  });
}

template <typename T>
void CrossEntropyFinish(const OpContext& ctx, std::span<const int32_t> targets, int64_t first,
                        std::span<const T> top, std::span<const T> sums, std::span<const T> target_logits,
                        std::span<const T> weights, View<T> logits, std::span<T> loss) {
  const size_t tokens = static_cast<size_t>(logits.rows);
  HADAL_CHECK(targets.size() == tokens && top.size() == tokens && sums.size() == tokens &&
                  target_logits.size() == tokens && weights.size() == tokens && loss.size() == tokens,
              "{} rows of logits, {} targets, {} maxima, {} sums, {} target logits, {} weights, {} losses",
              tokens, targets.size(), top.size(), sums.size(), target_logits.size(), weights.size(),
              loss.size());
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  ForRows(ctx, logits.rows, logits.cols, [&](int64_t row) {
    const size_t t = static_cast<size_t>(row);
    if (targets[t] < 0) {
      loss[t] = 0;
      std::fill_n(logits.row(row), logits.cols, T{0});
      return;
    }
    loss[t] = std::log(sums[t]) + top[t] - target_logits[t];
    rows.exp_scaled(top[t], weights[t] / sums[t], logits.cols, logits.row(row));
    const int64_t column = targets[t] - first;
    if (column >= 0 && column < logits.cols) logits.at(row, column) -= weights[t];
  });
}

#define HADAL_INSTANTIATE(T)                                                                                \
  template void CrossEntropyMax(const OpContext&, View<const T>, std::span<T>);                             \
  template void CrossEntropySums(const OpContext&, View<const T>, std::span<const int32_t>, int64_t,        \
                                 std::span<const T>, std::span<T>, std::span<T>);                           \
  template void CrossEntropyFinish(const OpContext&, std::span<const int32_t>, int64_t, std::span<const T>, \
                                   std::span<const T>, std::span<const T>, std::span<const T>, View<T>,     \
                                   std::span<T>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
