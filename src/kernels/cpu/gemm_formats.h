// The formats of matrix products: what a packed element is, how a source vector becomes packed ones, how
// packed vectors are multiplied. Included once per target; everything has internal linkage.
#pragma once

#include "kernels/cpu/simd.h"

namespace hadal {
namespace {

typedef double F64x8 __attribute__((vector_size(64)));
typedef int64_t I64x8 __attribute__((vector_size(64)));

HADAL_INLINE F32x16 RoundToBF16(F32x16 x) { return FromBits(BF16Bits(x) << 16); }

/// To the nearest f16 (ties to even), kept as f32; infinity from 65520 on, NaN stays NaN.
HADAL_INLINE F32x16 RoundToF16(F32x16 x) {
  const U32x16 bits = reinterpret_cast<U32x16>(x), sign = bits & 0x80000000u;
  const F32x16 size = FromBits(bits & 0x7fffffffu);
  // Ten bits of mantissa for normal numbers; below 2^-14 multiples of 2^-24, the unit of floats in [0.5, 1).
  const U32x16 all = bits & 0x7fffffffu;
  const F32x16 normal = FromBits((all + 0xfff + ((all >> 13) & 1)) & ~0x1fffu);
  const F32x16 denormal = (size + Set1(0.75f)) - Set1(0.75f);
  F32x16 rounded = Select(size < Set1(0x1p-14f), denormal, normal);
  rounded = Select(rounded >= Set1(65536.0f), Set1(__builtin_inff()), rounded);
  return Select(x != x, x, FromBits(reinterpret_cast<U32x16>(rounded) | sign));
}

/// Factors in f32, rounded by `Round` first.
template <F32x16 (*Round)(F32x16)>
struct FloatFormat {
  using Source = float;
  using Element = float;
  using Vector = F32x16;  // of Source, of packed units, and of sums
  static constexpr int kLanes = 16;
  static constexpr int kStep = 1;  // positions of the summed index in a unit

  /// One position of 16 lanes as packed units.
  HADAL_INLINE static Vector Unit(const Vector* positions) { return Round(positions[0]); }
  /// 16 positions of one lane as packed units.
  HADAL_INLINE static Vector Units(const Vector* positions) { return Round(positions[0]); }
  HADAL_INLINE static Vector Broadcast(const Element* unit) { return Set1(*unit); }
  HADAL_INLINE static Vector MultiplyAdd(Vector a, Vector b, Vector sum) { return Fma(a, b, sum); }
};
HADAL_INLINE F32x16 Unrounded(F32x16 x) { return x; }

struct DoubleFormat {
  using Source = double;
  using Element = double;
  using Vector = F64x8;
  static constexpr int kLanes = 8;
  static constexpr int kStep = 1;

  HADAL_INLINE static Vector Unit(const Vector* positions) { return positions[0]; }
  HADAL_INLINE static Vector Units(const Vector* positions) { return positions[0]; }
  HADAL_INLINE static Vector Broadcast(const Element* unit) {
    const double x = *unit;
    return Vector{x, x, x, x, x, x, x, x};
  }
  HADAL_INLINE static Vector MultiplyAdd(Vector a, Vector b, Vector sum) {
#if defined(__AVX512F__)
    return reinterpret_cast<Vector>(_mm512_fmadd_pd(
        reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b), reinterpret_cast<__m512d>(sum)));
#elif defined(__FMA__)
    union Halves {
      F64x8 all;
      __m256d half[2];
    } x{a}, y{b}, z{sum};
    z.half[0] = _mm256_fmadd_pd(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_pd(x.half[1], y.half[1], z.half[1]);
    return z.all;
#else
    return a * b + sum;
#endif
  }
};

#if defined(__AVX512BF16__)
/// Pairs of bf16: a unit holds two positions, the even one in its low half.
struct PairFormat {
  using Source = float;
  using Element = uint16_t;
  using Vector = F32x16;
  static constexpr int kLanes = 16;
  static constexpr int kStep = 2;

  HADAL_INLINE static __m512i Codes(const Vector* two) {
    return reinterpret_cast<__m512i>(
        _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(two[1]), reinterpret_cast<__m512>(two[0])));
  }
  HADAL_INLINE static Vector Unit(const Vector* positions) {
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                                23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return reinterpret_cast<Vector>(_mm512_permutexvar_epi16(interleave, Codes(positions)));
  }
  HADAL_INLINE static Vector Units(const Vector* positions) {
    return reinterpret_cast<Vector>(Codes(positions));
  }
  HADAL_INLINE static Vector Broadcast(const Element* unit) {
    int32_t pair;
    __builtin_memcpy(&pair, unit, 4);
    return reinterpret_cast<Vector>(_mm512_set1_epi32(pair));
  }
  HADAL_INLINE static Vector MultiplyAdd(Vector a, Vector b, Vector sum) {
    return reinterpret_cast<Vector>(_mm512_dpbf16_ps(
        reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
  }
};
#endif

}  // namespace
}  // namespace hadal
