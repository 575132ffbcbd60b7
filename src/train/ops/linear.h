// y = x W^T and its gradients. Products are computed as OpContext::compute says; see kernels/gemm.h.
#pragma once

#include <span>

#include "train/ops/context.h"

namespace hadal::train {

/// y = x W^T. x: [T, in]; w: [out, in]; y: [T, out], which must not overlap x.
template <typename T>
void LinearForward(const OpContext& ctx, View<const T> x, View<const T> w, View<T> y);
/// dx (+)= dy W. dy: [T, out]; dx: [T, in].
template <typename T>
void LinearBackwardInput(const OpContext& ctx, View<const T> dy, View<const T> w, View<T> dx,
                         bool accumulate);
/// dw += dy^T x. dy: [T, out]; x: [T, in]; dw: [out, in].
template <typename T>
void LinearBackwardWeight(const OpContext& ctx, View<const T> dy, View<const T> x, View<T> dw);

/// The same for experts: group g has rows [offsets[g], offsets[g + 1]) of x and y, and the weight w[g]; all
/// weights have one shape. offsets: [groups + 1], from 0, ascending, as DispatchPlan makes them; rows beyond
/// the last are not touched.
template <typename T>
void GroupedLinearForward(const OpContext& ctx, View<const T> x, std::span<const int32_t> offsets,
                          std::span<const View<const T>> w, View<T> y);
template <typename T>
void GroupedLinearBackwardInput(const OpContext& ctx, View<const T> dy, std::span<const int32_t> offsets,
                                std::span<const View<const T>> w, View<T> dx, bool accumulate);
template <typename T>
void GroupedLinearBackwardWeight(const OpContext& ctx, View<const T> dy, View<const T> x,
                                 std::span<const int32_t> offsets, std::span<const View<T>> dw);

}  // namespace hadal::train
