// Sixteen floats or integers as one value, on any target: compiler vectors, and intrinsics where a target has an
// instruction the compiler does not find. Included once per target; everything has internal linkage.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hadal {
namespace {

typedef float F32x16 __attribute__((vector_size(64)));
typedef int32_t I32x16 __attribute__((vector_size(64)));
typedef uint32_t U32x16 __attribute__((vector_size(64)));
typedef uint16_t U16x16 __attribute__((vector_size(32)));

#define HADAL_INLINE inline __attribute__((always_inline))

HADAL_INLINE F32x16 Load(const float* p) {
  F32x16 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
HADAL_INLINE void Store(F32x16 v, float* p) { __builtin_memcpy(p, &v, sizeof(v)); }
HADAL_INLINE F32x16 Zero() { return F32x16{}; }
HADAL_INLINE F32x16 Set1(float x) {
  return F32x16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

/// a * b + c with one rounding where the target has it; the generic x86-64 target rounds twice.
HADAL_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
#if defined(__AVX512F__)
  return reinterpret_cast<F32x16>(_mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b),
                                                  reinterpret_cast<__m512>(c)));
#elif defined(__FMA__)
  union Halves {
    F32x16 all;
    __m256 half[2];
  } x{a}, y{b}, z{c};
  z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
  z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
  return z.all;
#elif defined(__aarch64__)
  F32x16 r;
  for (int i = 0; i < 16; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return r;
#else
  return a * b + c;
#endif
}

HADAL_INLINE F32x16 Select(I32x16 mask, F32x16 yes, F32x16 no) {
  return reinterpret_cast<F32x16>((mask & reinterpret_cast<I32x16>(yes)) | (~mask & reinterpret_cast<I32x16>(no)));
}
/// The larger; b where either is NaN.
HADAL_INLINE F32x16 Max(F32x16 a, F32x16 b) { return Select(a > b, a, b); }

/// The 16 lanes' sum as a tree: eight pairs (i, i + 8), then four, two, one.
HADAL_INLINE float ReduceAdd(F32x16 v) {
  float a[16];
  Store(v, a);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a[i] += a[i + half];
  return a[0];
}
HADAL_INLINE float ReduceMax(F32x16 v) {
  float a[16];
  Store(v, a);
  float top = a[0];
  for (int i = 1; i < 16; ++i) top = a[i] > top ? a[i] : top;
  return top;
}

HADAL_INLINE F32x16 FromBits(U32x16 bits) { return reinterpret_cast<F32x16>(bits); }
HADAL_INLINE F32x16 ToF32(I32x16 v) { return __builtin_convertvector(v, F32x16); }

HADAL_INLINE F32x16 LoadBF16(const uint16_t* p) {
  U16x16 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return FromBits(__builtin_convertvector(v, U32x16) << 16);
}

/// Round to nearest even; NaN is kept quiet. The 16 low halves of the result hold the codes.
HADAL_INLINE U32x16 BF16Bits(F32x16 x) {
  const U32x16 bits = reinterpret_cast<U32x16>(x);
  const U32x16 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const U32x16 nan = (bits >> 16) | 0x40;
  const I32x16 is_nan = reinterpret_cast<I32x16>(x != x);
  return reinterpret_cast<U32x16>((is_nan & reinterpret_cast<I32x16>(nan)) |
                                  (~is_nan & reinterpret_cast<I32x16>(rounded)));
}
HADAL_INLINE void StoreBF16(F32x16 x, uint16_t* p) {
  const U16x16 codes = __builtin_convertvector(BF16Bits(x), U16x16);
  __builtin_memcpy(p, &codes, sizeof(codes));
}

/// e^x to 2 ulp; 0 below -87.3, infinity above 88, NaN of NaN.
HADAL_INLINE F32x16 Exp(F32x16 x) {
  const I32x16 vanishes = x < Set1(-87.3f), overflows = x > Set1(88.0f);
  x = Select(vanishes | overflows, Zero(), x);
  // n = round(x / ln 2) by adding 1.5 * 2^23, whose unit in the last place is 1.
  const F32x16 shifter = Set1(0x1.8p23f);
  const F32x16 shifted = Fma(x, Set1(0x1.715476p0f), shifter);
  const F32x16 n = shifted - shifter;
  F32x16 r = Fma(n, Set1(-0x1.62e4p-1f), x);      // ln 2 in two parts: the first has 14 bits,
  r = Fma(n, Set1(-0x1.7f7d1cp-20f), r);          // so that n times it is exact
  F32x16 p = Set1(0x1.a01a02p-13f);               // e^r on [-ln 2 / 2, ln 2 / 2]: Taylor terms to r^7
  p = Fma(p, r, Set1(0x1.6c16c2p-10f));
  p = Fma(p, r, Set1(0x1.111112p-7f));
  p = Fma(p, r, Set1(0x1.555556p-5f));
  p = Fma(p, r, Set1(0x1.555556p-3f));
  p = Fma(p, r, Set1(0.5f));
  p = Fma(p, r, Set1(1.0f));
  p = Fma(p, r, Set1(1.0f));
  const U32x16 exponent = (reinterpret_cast<U32x16>(shifted) + 127) << 23;
  const F32x16 finite = Select(vanishes, Zero(), p * FromBits(exponent));
  return Select(overflows, Set1(__builtin_inff()), finite);
}

}  // namespace
}  // namespace hadal
