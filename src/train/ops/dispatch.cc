#include "train/ops/dispatch.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::train {

DispatchPlan::DispatchPlan(int64_t rows, int64_t choices, int64_t experts)
    : experts_(experts),
      offsets_(static_cast<size_t>(experts + 1)),
      taken_(static_cast<size_t>(experts)),
      token_(static_cast<size_t>(rows * choices)),
      choice_(token_.size()),
      places_(token_.size()) {}

void DispatchPlan::Build(View<const int32_t> ids, int64_t capacity, int64_t first) {
  HADAL_CHECK(ids.rows * ids.cols <= static_cast<int64_t>(places_.size()),
              "{} tokens of {} choices, {} copies planned", ids.rows, ids.cols, places_.size());
  const View<int32_t> places(places_.data(), ids.rows, ids.cols);
  places_view_ = places;
  dropped_ = 0;
  std::fill(taken_.begin(), taken_.end(), 0);
  for (int64_t t = 0; t < ids.rows; ++t) {
    for (int64_t i = 0; i < ids.cols; ++i) {
      const int64_t expert = ids.at(t, i) - first;
      places.at(t, i) = -1;
      if (expert < 0 || expert >= experts_) continue;
      int32_t& taken = taken_[static_cast<size_t>(expert)];
      if (capacity > 0 && taken >= capacity)
        ++dropped_;
      else
        places.at(t, i) = taken++;  // among its expert's rows
    }
  }
  offsets_[0] = 0;
  for (size_t e = 0; e < taken_.size(); ++e) offsets_[e + 1] = offsets_[e] + taken_[e];
  for (int64_t t = 0; t < ids.rows; ++t) {
    for (int64_t i = 0; i < ids.cols; ++i) {
      int32_t& place = places.at(t, i);
      if (place < 0) continue;
      place += offsets_[static_cast<size_t>(ids.at(t, i) - first)];
      token_[static_cast<size_t>(place)] = static_cast<int32_t>(t);
      choice_[static_cast<size_t>(place)] = static_cast<int32_t>(i);
    }
  }
}

namespace {

template <typename A, typename B>
void CheckDispatch(const DispatchPlan& plan, const View<A>& tokens, const View<B>& rows) {
  HADAL_CHECK(tokens.rows == plan.places().rows && rows.rows >= plan.rows() && tokens.cols == rows.cols,
              "tokens [{}, {}], rows [{}, {}]; the plan has {} tokens and {} rows", tokens.rows, tokens.cols,
              rows.rows, rows.cols, plan.places().rows, plan.rows());
}

}  // namespace

template <typename T>
void Gather(const OpContext& ctx, const DispatchPlan& plan, View<const T> x, View<T> xs) {
  CheckDispatch(plan, x, xs);
  ForRows(ctx, plan.rows(), x.cols, [&](int64_t row) {
    std::copy_n(x.row(plan.tokens()[static_cast<size_t>(row)]), x.cols, xs.row(row));
  });
}

template <typename T>
void GatherBackward(const OpContext& ctx, const DispatchPlan& plan, View<const T> dxs, View<T> dx,
                    bool accumulate) {
  CheckDispatch(plan, dx, dxs);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  const View<const int32_t> places = plan.places();
  ForRows(ctx, dx.rows, dx.cols * places.cols, [&](int64_t t) {
    if (!accumulate) std::fill_n(dx.row(t), dx.cols, T{0});
    for (int64_t i = 0; i < places.cols; ++i)
      if (places.at(t, i) >= 0) rows.add(dxs.row(places.at(t, i)), dx.cols, dx.row(t));
  });
}

template <typename T>
void Combine(const OpContext& ctx, const DispatchPlan& plan, View<const T> y, View<const T> weights,
             View<T> out, bool accumulate) {
  CheckDispatch(plan, out, y);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  const View<const int32_t> places = plan.places();
  ForRows(ctx, out.rows, out.cols * places.cols, [&](int64_t t) {
    if (!accumulate) std::fill_n(out.row(t), out.cols, T{0});
    for (int64_t i = 0; i < places.cols; ++i)
      if (places.at(t, i) >= 0)
        rows.add_scaled(y.row(places.at(t, i)), weights.at(t, i), out.cols, out.row(t));
  });
}

template <typename T>
void CombineBackward(const OpContext& ctx, const DispatchPlan& plan, View<const T> dout, View<const T> y,
                     View<const T> weights, View<T> dy, View<T> dweights) {
  CheckDispatch(plan, dout, y);
  CheckDispatch(plan, dout, dy);
  const RowKernels<T>& rows = RowsOf<T>(*ctx.rows);
  const View<const int32_t> places = plan.places();
  ForRows(ctx, dout.rows, dout.cols * places.cols, [&](int64_t t) {
    for (int64_t i = 0; i < places.cols; ++i) {
      const int32_t row = places.at(t, i);
      dweights.at(t, i) = row < 0 ? T{0} : rows.dot(y.row(row), dout.row(t), dout.cols);
      if (row < 0) continue;
      std::copy_n(dout.row(t), dout.cols, dy.row(row));
      rows.scale(weights.at(t, i), dout.cols, dy.row(row));
    }
  });
}

#define HADAL_INSTANTIATE(T)                                                                                 \
  template void Gather(const OpContext&, const DispatchPlan&, View<const T>, View<T>);                       \
  template void GatherBackward(const OpContext&, const DispatchPlan&, View<const T>, View<T>, bool);         \
  template void Combine(const OpContext&, const DispatchPlan&, View<const T>, View<const T>, View<T>, bool); \
  template void CombineBackward(const OpContext&, const DispatchPlan&, View<const T>, View<const T>,         \
                                View<const T>, View<T>, View<T>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
