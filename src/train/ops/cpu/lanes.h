// Floats by sixteen and doubles by eight under the same names, so that a row kernel is written once. Included
// once per target; everything has internal linkage.
#pragma once

#include "kernels/cpu/gemm_formats.h"

namespace hadal {
namespace {

template <typename Element, typename Vector, typename Mask, int kCount>
struct LanesOf {
  using T = Element;
  using V = Vector;
  using M = Mask;
  static constexpr int kLanes = kCount;

  HADAL_INLINE static V Set(T x) { return x - V{}; }  // the sign of a zero stays
  HADAL_INLINE static V Load(const T* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof(V));
    return v;
  }
  /// `count` elements, then zeros.
  HADAL_INLINE static V Load(const T* p, int64_t count) {
    V v{};
    __builtin_memcpy(&v, p, static_cast<size_t>(count) * sizeof(T));
    return v;
  }
  HADAL_INLINE static void Store(V v, T* p) { __builtin_memcpy(p, &v, sizeof(V)); }
  HADAL_INLINE static void Store(V v, T* p, int64_t count) {
    __builtin_memcpy(p, &v, static_cast<size_t>(count) * sizeof(T));
  }
  HADAL_INLINE static V Choose(Mask mask, V yes, V no) {
    return reinterpret_cast<V>((mask & reinterpret_cast<Mask>(yes)) | (~mask & reinterpret_cast<Mask>(no)));
  }
  /// The larger; NaN where x is.
  HADAL_INLINE static V MaxOf(V x, V most) { return Choose((x > most) | (x != x), x, most); }
  /// The lanes as a tree: halves, quarters, … are added.
  HADAL_INLINE static T Sum(V v) {
    T a[kLanes];
    Store(v, a);
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) a[i] += a[i + half];
    return a[0];
  }
  /// The largest lane; NaN if there is one.
  HADAL_INLINE static T Largest(V v) {
    T a[kLanes];
    Store(v, a);
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i)
        a[i] = a[i + half] > a[i] || a[i + half] != a[i + half] ? a[i + half] : a[i];
    return a[0];
  }
};

struct FloatLanes : LanesOf<float, F32x16, I32x16, 16> {
  HADAL_INLINE static V MulAdd(V a, V b, V c) { return Fma(a, b, c); }
  HADAL_INLINE static V ExpOf(V x) { return Exp(x); }
  HADAL_INLINE static T Root(T x) { return __builtin_sqrtf(x); }
  HADAL_INLINE static V RootOf(V x) { return __builtin_elementwise_sqrt(x); }
  HADAL_INLINE static V Ramp() { return V{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
};

struct DoubleLanes : LanesOf<double, F64x8, I64x8, 8> {
  HADAL_INLINE static V MulAdd(V a, V b, V c) { return DoubleFormat::MultiplyAdd(a, b, c); }
  HADAL_INLINE static V ExpOf(V x) {
    for (int i = 0; i < 8; ++i) x[i] = __builtin_exp(x[i]);
    return x;
  }
  HADAL_INLINE static T Root(T x) { return __builtin_sqrt(x); }
  HADAL_INLINE static V RootOf(V x) { return __builtin_elementwise_sqrt(x); }
  HADAL_INLINE static V Ramp() { return V{0, 1, 2, 3, 4, 5, 6, 7}; }
};

/// body(i, count) for each vector of [0, width); count is L::kLanes, as a constant, but for the last.
template <typename L, typename Body>
HADAL_INLINE void ForVectors(int64_t width, Body&& body) {
  int64_t i = 0;
  for (; i + L::kLanes <= width; i += L::kLanes) body(i, int64_t{L::kLanes});
  if (i < width) body(i, width - i);
}

}  // namespace
}  // namespace hadal
