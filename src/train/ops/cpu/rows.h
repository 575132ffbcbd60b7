// The row kernels of one target: HADAL_TARGET names its namespace. Included by rows_*.cc alone. See
// ops/rows.h.
#pragma once

#include "train/ops/cpu/lanes.h"
#include "train/ops/cpu/rows_targets.h"
#include "train/ops/rows.h"

namespace hadal::train::HADAL_TARGET {
namespace {

template <typename L, typename T = typename L::T>
void AddScaled(const T* x, T a, int64_t width, T* y) {
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    L::Store(L::MulAdd(L::Set(a), L::Load(x + i, n), L::Load(y + i, n)), y + i, n);
  });
}

template <typename L, typename T = typename L::T>
void Add(const T* x, int64_t width, T* y) {
  ForVectors<L>(width,
                [&](int64_t i, int64_t n) { L::Store(L::Load(y + i, n) + L::Load(x + i, n), y + i, n); });
}

template <typename L, typename T = typename L::T>
T Dot(const T* x, const T* y, int64_t width) {
  typename L::V sum{};
  ForVectors<L>(width,
                [&](int64_t i, int64_t n) { sum = L::MulAdd(L::Load(x + i, n), L::Load(y + i, n), sum); });
  return L::Sum(sum);
}

template <typename L, typename T = typename L::T>
void Scale(T a, int64_t width, T* y) {
  ForVectors<L>(width, [&](int64_t i, int64_t n) { L::Store(L::Load(y + i, n) * L::Set(a), y + i, n); });
}

template <typename L, typename T = typename L::T>
T RmsNorm(const T* x, const T* w, T eps, int64_t width, T* y) {
  const T r = T{1} / L::Root(Dot<L>(x, x, width) / static_cast<T>(width) + eps);
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    L::Store(L::Load(x + i, n) * L::Set(r) * L::Load(w + i, n), y + i, n);
  });
  return r;
}

template <typename L, typename T = typename L::T>
void RmsNormDx(const T* dy, const T* x, const T* w, T r, bool accumulate, int64_t width, T* dx) {
  typename L::V sum{};
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    sum = L::MulAdd(L::Load(dy + i, n) * L::Load(w + i, n), L::Load(x + i, n) * L::Set(r), sum);
  });
  const auto mean = L::Set(L::Sum(sum) / static_cast<T>(width));
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    const auto normed = L::Load(x + i, n) * L::Set(r);
    const auto d = (L::Load(dy + i, n) * L::Load(w + i, n) - normed * mean) * L::Set(r);
    L::Store(accumulate ? L::Load(dx + i, n) + d : d, dx + i, n);
  });
}

template <typename L, typename T = typename L::T>
void RmsNormDw(const T* dy, const T* x, T r, int64_t width, T* dw) {
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    L::Store(L::MulAdd(L::Load(dy + i, n), L::Load(x + i, n) * L::Set(r), L::Load(dw + i, n)), dw + i, n);
  });
}

template <typename L, typename T = typename L::T>
void SwiGlu(const T* gate, const T* up, int64_t width, T* h) {
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    const auto g = L::Load(gate + i, n);
    L::Store(g / (L::Set(1) + L::ExpOf(-g)) * L::Load(up + i, n), h + i, n);
  });
}

template <typename L, typename T = typename L::T>
void SwiGluBackward(const T* dh, const T* gate, const T* up, int64_t width, T* dgate, T* dup) {
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    const auto g = L::Load(gate + i, n), u = L::Load(up + i, n), d = L::Load(dh + i, n);
    const auto s = L::Set(1) / (L::Set(1) + L::ExpOf(-g));
    L::Store(d * u * s * (L::Set(1) + g * (L::Set(1) - s)), dgate + i, n);
    L::Store(d * g * s, dup + i, n);
  });
}

template <typename L, typename T = typename L::T>
T Max(const T* x, int64_t width) {
  auto most = L::Set(-__builtin_inff());
  int64_t i = 0;
  for (; i + L::kLanes <= width; i += L::kLanes) most = L::MaxOf(L::Load(x + i), most);
  T top = L::Largest(most);
  for (; i < width; ++i) top = x[i] > top || x[i] != x[i] ? x[i] : top;
  return top;
}

template <typename L, typename T = typename L::T>
T SumExp(const T* x, T top, int64_t width) {
  typename L::V sum{};
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    T e[L::kLanes];
    L::Store(L::ExpOf(L::Load(x + i, n) - L::Set(top)), e);
    sum = sum + L::Load(e, n);
  });
  return L::Sum(sum);
}

template <typename L, typename T = typename L::T>
void ExpScaled(T top, T factor, int64_t width, T* x) {
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    L::Store(L::ExpOf(L::Load(x + i, n) - L::Set(top)) * L::Set(factor), x + i, n);
  });
}

/// The lanes of [i, i + lanes) that lie in [begin, end).
template <typename L>
HADAL_INLINE typename L::M Within(int64_t i, int64_t begin, int64_t end) {
  const auto lane = L::Ramp() + static_cast<typename L::T>(i);
  return (lane >= L::Set(static_cast<typename L::T>(begin))) &
         (lane < L::Set(static_cast<typename L::T>(end)));
}

template <typename L, typename T = typename L::T>
T OnlineSoftmax(T scale, int64_t begin, int64_t end, int64_t count, T* x, T* top) {
  using V = typename L::V;
  V most = L::Set(-__builtin_inff());
  for (int64_t i = 0; i < count; i += L::kLanes) {
    const V v = L::Choose(Within<L>(i, begin, end), L::Load(x + i), L::Set(-__builtin_inff()));
    most = v > most ? v : most;  // a NaN is passed over here and comes out of the exponential
  }
  const T best = scale * L::Largest(most);
  *top = best > *top ? best : *top;
  V sum{};
  for (int64_t i = 0; i < count; i += L::kLanes) {
    const V weights =
        L::Choose(Within<L>(i, begin, end), L::ExpOf(L::Load(x + i) * L::Set(scale) - L::Set(*top)), V{});
    L::Store(weights, x + i);
    sum = sum + weights;
  }
  return L::Sum(sum);
}

template <typename L, typename T = typename L::T>
void AttentionDs(T scale, T lse, T delta, int64_t begin, int64_t end, int64_t count, T* p, T* ds) {
  using V = typename L::V;
  for (int64_t i = 0; i < count; i += L::kLanes) {
    const auto seen = Within<L>(i, begin, end);
    const V weights = L::ExpOf(L::Load(p + i) * L::Set(scale) - L::Set(lse));
    L::Store(L::Choose(seen, weights, V{}), p + i);
    L::Store(L::Choose(seen, weights * (L::Load(ds + i) - L::Set(delta)) * L::Set(scale), V{}), ds + i);
  }
}

template <typename L, typename T = typename L::T>
double SumSquares(const T* x, int64_t width) {
  typedef T Eight __attribute__((vector_size(8 * sizeof(T))));
  F64x8 lanes{};
  int64_t i = 0;
  for (; i + 8 <= width; i += 8) {
    Eight part;
    __builtin_memcpy(&part, x + i, sizeof(part));
    const F64x8 wide = __builtin_convertvector(part, F64x8);
    lanes += wide * wide;
  }
  for (; i < width; ++i) lanes[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  double sum = 0;
  for (int l = 0; l < 8; ++l) sum += lanes[l];
  return sum;
}

template <typename L, typename T = typename L::T>
void AdamW(const AdamWFactors<T>& f, const T* g, int64_t width, T* m, T* v, T* w) {
  const auto scale = L::Set(f.scale), beta1 = L::Set(f.beta1), beta2 = L::Set(f.beta2);
  const auto rest1 = L::Set(T{1} - f.beta1), rest2 = L::Set(T{1} - f.beta2);
  const auto correct1 = L::Set(f.correct1), correct2 = L::Set(f.correct2);
  const auto rate = L::Set(f.rate), epsilon = L::Set(f.epsilon), keep = L::Set(f.keep);
  ForVectors<L>(width, [&](int64_t i, int64_t n) {
    const auto x = L::Load(g + i, n) * scale;
    const auto first = beta1 * L::Load(m + i, n) + rest1 * x;
    const auto second = beta2 * L::Load(v + i, n) + rest2 * x * x;
    L::Store(first, m + i, n);
    L::Store(second, v + i, n);
    L::Store(keep * L::Load(w + i, n) - rate * (first * correct1) / (L::RootOf(second * correct2) + epsilon),
             w + i, n);
  });
}

template <typename L>
constexpr RowKernels<typename L::T> Describe() {
  return {.add_scaled = AddScaled<L>,
          .add = Add<L>,
          .dot = Dot<L>,
          .rms_norm = RmsNorm<L>,
          .rms_norm_dx = RmsNormDx<L>,
          .rms_norm_dw = RmsNormDw<L>,
          .swiglu = SwiGlu<L>,
          .swiglu_backward = SwiGluBackward<L>,
          .max = Max<L>,
          .sum_exp = SumExp<L>,
          .exp_scaled = ExpScaled<L>,
          .online_softmax = OnlineSoftmax<L>,
          .scale = Scale<L>,
          .attention_ds = AttentionDs<L>,
          .sum_squares = SumSquares<L>,
          .adamw = AdamW<L>};
}

}  // namespace

const RowTable& Rows() {
  static constexpr RowTable kTable{.f64 = Describe<DoubleLanes>(), .f32 = Describe<FloatLanes>()};
  return kTable;
}

}  // namespace hadal::train::HADAL_TARGET
