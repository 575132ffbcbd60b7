// The elementwise part of training's ops: functions on rows and small tiles, written once on vectors and
// compiled once per instruction set. One thread, no allocation; sums run in 16 (f64: 8) lanes that are added
// as a fixed tree.
//
// This header is compiled under each instruction set's flags, so it defines no inline function with external
// linkage.
#pragma once

#include <cstdint>

#include "base/cpu_info.h"

namespace hadal::train {

/// Factors of an AdamW update (train/optimizer.h) that are the same for many elements.
template <typename T>
struct AdamWFactors {
  T scale;  // of gradients: clipping, loss scale
  T beta1, beta2;
  T correct1, correct2;  // 1 / (1 - beta^step)
  T rate, epsilon;
  T keep;  // of the weight: 1 - rate * weight decay
};

template <typename T>
struct RowKernels {
  /// y += a * x, and y += x.
  void (*add_scaled)(const T* x, T a, int64_t width, T* y);
  void (*add)(const T* x, int64_t width, T* y);
  T (*dot)(const T* x, const T* y, int64_t width);

  /// y = x * r * w with r = 1 / sqrt(mean(x^2) + eps); returns r. y may be x.
  T (*rms_norm)(const T* x, const T* w, T eps, int64_t width, T* y);
  /// dx (+)= r (w dy - x̂ mean(w dy x̂)), x̂ = x r. dx may be dy where it does not accumulate.
  void (*rms_norm_dx)(const T* dy, const T* x, const T* w, T r, bool accumulate, int64_t width, T* dx);
  /// dw[i] += dy[i] * (x[i] * r).
  void (*rms_norm_dw)(const T* dy, const T* x, T r, int64_t width, T* dw);

  /// h = silu(gate) * up; h may be gate or up.
  void (*swiglu)(const T* gate, const T* up, int64_t width, T* h);
  /// dgate = dh up s(1 + gate (1 - s)), dup = dh gate s, s = sigmoid(gate). dgate, dup may be gate, up or dh.
  void (*swiglu_backward)(const T* dh, const T* gate, const T* up, int64_t width, T* dgate, T* dup);

  /// The largest element; NaN if there is one.
  T (*max)(const T* x, int64_t width);
  /// sum of exp(x - top).
  T (*sum_exp)(const T* x, T top, int64_t width);
  /// x = exp(x - top) * factor.
  void (*exp_scaled)(T top, T factor, int64_t width, T* x);

  /// One query's row of a tile of scores, keys [0, count) of which it sees [begin, end): x = exp(scale x -
  /// top'), 0 where it does not see; top' = max(top, scale x) and the sum of the new x are handed out. scale
  /// is positive, begin < end. The row has room for whole vectors of 16: count rounded up are read and
  /// written.
  T (*online_softmax)(T scale, int64_t begin, int64_t end, int64_t count, T* x, T* top);
  /// y *= a.
  void (*scale)(T a, int64_t width, T* y);
  /// Backward of the same row: p = exp(scale p - lse) and ds = p (ds - delta) scale for keys [begin, end), 0
  /// elsewhere in [0, count), with room as above.
  void (*attention_ds)(T scale, T lse, T delta, int64_t begin, int64_t end, int64_t count, T* p, T* ds);

  /// sum of x^2, in 8 lanes of double that are added in order. The same bits for every instruction set.
  double (*sum_squares)(const T* x, int64_t width);
  /// With g' = scale g: m = beta1 m + (1 - beta1) g', v = beta2 v + (1 - beta2) g'^2,
  /// w = keep w - rate (m correct1) / (sqrt(v correct2) + epsilon). No fused operations: the same bits for
  /// every instruction set.
  void (*adamw)(const AdamWFactors<T>& factors, const T* g, int64_t width, T* m, T* v, T* w);
};

struct RowTable {
  RowKernels<double> f64;
  RowKernels<float> f32;
};

/// For `isa`, which must be one of AvailableIsas().
const RowTable& CpuRows(Isa isa);

template <typename T>
const RowKernels<T>& RowsOf(const RowTable& table);

}  // namespace hadal::train
