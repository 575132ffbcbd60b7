#include "train/ops/linear.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::train {
namespace {

// Groups that are handed to Gemms at once: their jobs lie on the stack.
constexpr int64_t kBatch = 64;

/// job(g, first row, rows) of every group that has rows, as products that run together; `job` returns a
/// GemmJob.
template <typename T, typename Job>
void RunGroups(const OpContext& ctx, std::span<const int32_t> offsets, bool accumulate, Job&& job) {
  GemmJob<T> jobs[kBatch];
  size_t count = 0;
  const auto flush = [&] {
    Gemms<T>(*ctx.gemm, ctx.compute, std::span<const GemmJob<T>>(jobs, count), accumulate);
    count = 0;
  };
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    const int64_t rows = offsets[g + 1] - offsets[g];
    if (rows == 0) continue;
    jobs[count++] = job(g, offsets[g], rows);
    if (count == kBatch) flush();
  }
  if (count > 0) flush();
}

}  // namespace

template <typename T>
void LinearForward(const OpContext& ctx, View<const T> x, View<const T> w, View<T> y) {
  const PartClock::Scope scope(ctx.clock, StepPart::kLinears);
  Gemm<T>(*ctx.gemm, ctx.compute, {x}, {w, true}, y, false);
}

template <typename T>
void LinearBackwardInput(const OpContext& ctx, View<const T> dy, View<const T> w, View<T> dx,
                         bool accumulate) {
  const PartClock::Scope scope(ctx.clock, StepPart::kLinears);
  Gemm<T>(*ctx.gemm, ctx.compute, {dy}, {w}, dx, accumulate);
}

template <typename T>
void LinearBackwardWeight(const OpContext& ctx, View<const T> dy, View<const T> x, View<T> dw) {
  const PartClock::Scope scope(ctx.clock, StepPart::kLinears);
  Gemm<T>(*ctx.gemm, ctx.compute, {dy, true}, {x}, dw, true);
}

template <typename T>
void GroupedLinearForward(const OpContext& ctx, View<const T> x, std::span<const int32_t> offsets,
                          std::span<const View<const T>> w, View<T> y) {
  HADAL_CHECK_EQ(offsets.size(), w.size() + 1);
  RunGroups<T>(ctx, offsets, false, [&](size_t g, int64_t first, int64_t rows) {
    return GemmJob<T>{{x.Rows(first, rows)}, {w[g], true}, y.Rows(first, rows)};
  });
}

template <typename T>
void GroupedLinearBackwardInput(const OpContext& ctx, View<const T> dy, std::span<const int32_t> offsets,
                                std::span<const View<const T>> w, View<T> dx, bool accumulate) {
  HADAL_CHECK_EQ(offsets.size(), w.size() + 1);
  RunGroups<T>(ctx, offsets, accumulate, [&](size_t g, int64_t first, int64_t rows) {
    return GemmJob<T>{{dy.Rows(first, rows)}, {w[g]}, dx.Rows(first, rows)};
  });
}

template <typename T>
void GroupedLinearBackwardWeight(const OpContext& ctx, View<const T> dy, View<const T> x,
                                 std::span<const int32_t> offsets, std::span<const View<T>> dw) {
  HADAL_CHECK_EQ(offsets.size(), dw.size() + 1);
  RunGroups<T>(ctx, offsets, true, [&](size_t g, int64_t first, int64_t rows) {
    return GemmJob<T>{{dy.Rows(first, rows), true}, {x.Rows(first, rows)}, dw[g]};
  });
}

#define HADAL_INSTANTIATE(T)                                                                          \
  template void LinearForward(const OpContext&, View<const T>, View<const T>, View<T>);               \
  template void LinearBackwardInput(const OpContext&, View<const T>, View<const T>, View<T>, bool);   \
  template void LinearBackwardWeight(const OpContext&, View<const T>, View<const T>, View<T>);        \
  template void GroupedLinearForward(const OpContext&, View<const T>, std::span<const int32_t>,       \
                                     std::span<const View<const T>>, View<T>);                        \
  template void GroupedLinearBackwardInput(const OpContext&, View<const T>, std::span<const int32_t>, \
                                           std::span<const View<const T>>, View<T>, bool);            \
  template void GroupedLinearBackwardWeight(const OpContext&, View<const T>, View<const T>,           \
                                            std::span<const int32_t>, std::span<const View<T>>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
