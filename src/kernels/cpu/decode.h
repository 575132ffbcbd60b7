// Packed weights as vectors of 16 floats: one vector per input k of a unit. Included once per target.
#pragma once

#include "kernels/cpu/simd.h"
#include "kernels/kernel_table.h"

namespace hadal {
namespace {

/// e4m3 codes in the low bytes of 32-bit lanes, as floats. The code's fields moved to a float's are 2^-120 of the
/// value, denormals included; the code 0x7f is NaN.
HADAL_INLINE F32x16 FromE4M3(U32x16 code) {
  const U32x16 magnitude = code & 0x7f;
  const F32x16 value = FromBits(magnitude << 20 | (code & 0x80) << 24) * Set1(0x1p120f);
  return Select(reinterpret_cast<I32x16>(magnitude == 0x7f), Set1(__builtin_nanf("")), value);
}

HADAL_INLINE void BF16Pair(const std::byte* p, F32x16* out) {
  U32x16 pair;
  __builtin_memcpy(&pair, p, 64);
  out[0] = FromBits(pair << 16);
  out[1] = FromBits(pair & 0xffff0000u);
}

#if defined(__AVX512VBMI__)
/// The two bytes of each e4m3 magnitude's bf16, as tables that vpermi2b looks up 64 codes in at once.
struct E4M3Tables {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};
constexpr E4M3Tables MakeE4M3Tables() {
  E4M3Tables t{};
  for (int code = 0; code < 128; ++code) {
    int exponent = code >> 3, mantissa = code & 7;
    uint32_t bits = 0;
    if (code == 127) {
      bits = 0x7fc0;  // NaN
    } else if (exponent > 0) {
      bits = static_cast<uint32_t>((exponent + 120) << 7 | mantissa << 4);
    } else if (mantissa > 0) {  // mantissa * 2^-9, normal in bf16
      int shift = 0;
      while ((mantissa << shift & 8) == 0) ++shift;
      bits = static_cast<uint32_t>((121 - shift) << 7 | (mantissa << shift & 7) << 4);
    }
    t.low[code] = static_cast<uint8_t>(bits & 0xff);
    t.high[code] = static_cast<uint8_t>(bits >> 8);
  }
  return t;
}
constexpr E4M3Tables kE4M3Tables = MakeE4M3Tables();

/// 64 e4m3 codes in FP8 panel order as two vectors in BF16 panel order: inputs (0, 1) and (2, 3).
HADAL_INLINE void E4M3ToBF16Pairs(__m512i codes, __m512i* pair01, __m512i* pair23) {
  const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(kE4M3Tables.low), codes,
                                               _mm512_load_si512(kE4M3Tables.low + 64));
  const __m512i magnitude = _mm512_permutex2var_epi8(_mm512_load_si512(kE4M3Tables.high), codes,
                                                     _mm512_load_si512(kE4M3Tables.high + 64));
  // magnitude | (codes & 0x80)
  const __m512i high = _mm512_ternarylogic_epi32(magnitude, codes, _mm512_set1_epi8(static_cast<char>(0x80)), 0xf8);
  *pair01 = _mm512_unpacklo_epi8(low, high);
  *pair23 = _mm512_unpackhi_epi8(low, high);
}
#endif

// Each format: kStep inputs of 16 outputs lie in kBytes bytes; Decode gives one vector per input.
struct F32Weights {
  static constexpr int kStep = 1, kBytes = 64;
  static HADAL_INLINE void Decode(const std::byte* p, F32x16* out) { __builtin_memcpy(out, p, 64); }
};

struct F16Weights {
  static constexpr int kStep = 1, kBytes = 32;
  static HADAL_INLINE void Decode(const std::byte* p, F32x16* out) {
#if defined(__AVX512F__)
    *out = reinterpret_cast<F32x16>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#else
    U16x16 half;
    __builtin_memcpy(&half, p, 32);
    const U32x16 code = __builtin_convertvector(half, U32x16);
    const U32x16 magnitude = code & 0x7fff;
    // A float's fields stand for 2^-112 of the value; infinity and NaN keep their own.
    const F32x16 finite = FromBits(magnitude << 13) * Set1(0x1p112f);
    const F32x16 special = FromBits(0x7f800000u | (magnitude & 0x3ff) << 13);
    const F32x16 value = Select(reinterpret_cast<I32x16>(magnitude >= 0x7c00), special, finite);
    *out = FromBits(reinterpret_cast<U32x16>(value) | (code & 0x8000) << 16);
#endif
  }
};

struct BF16Weights {
  static constexpr int kStep = 2, kBytes = 64;
  static HADAL_INLINE void Decode(const std::byte* p, F32x16* out) { BF16Pair(p, out); }
};

struct Fp8Weights {
  static constexpr int kStep = 4, kBytes = 64;
  static HADAL_INLINE void Decode(const std::byte* p, F32x16* out) {
#if defined(__AVX512VBMI__)
    __m512i pairs[2];
    E4M3ToBF16Pairs(_mm512_loadu_si512(p), &pairs[0], &pairs[1]);
    for (int i = 0; i < 2; ++i) {
      const U32x16 pair = reinterpret_cast<U32x16>(pairs[i]);
      out[2 * i] = FromBits(pair << 16);
      out[2 * i + 1] = FromBits(pair & 0xffff0000u);
    }
#else
    // 16-bit words hold the codes of two inputs; words 8l + o hold (0, 1) and 8l + 4 + o hold (2, 3) of output 4l + o.
    uint16_t words[32];
    __builtin_memcpy(words, p, 64);
    for (int pair = 0; pair < 2; ++pair) {
      U32x16 codes;
      for (int o = 0; o < 16; ++o) codes[o] = words[o / 4 * 8 + pair * 4 + o % 4];
      out[2 * pair] = FromE4M3(codes & 0xff);
      out[2 * pair + 1] = FromE4M3(codes >> 8);
    }
#endif
  }
};

struct Int8Weights {
  static constexpr int kStep = 4, kBytes = 64;
  static HADAL_INLINE void Decode(const std::byte* p, F32x16* out) {
    U32x16 codes;
    __builtin_memcpy(&codes, p, 64);
    for (int i = 0; i < 4; ++i) out[i] = ToF32(reinterpret_cast<I32x16>(codes >> (8 * i) & 0xff) - 128);
  }
};

struct Int4Weights {
  static constexpr int kStep = 8, kBytes = 64;
  static HADAL_INLINE void Decode(const std::byte* p, F32x16* out) {
    U32x16 codes;
    __builtin_memcpy(&codes, p, 64);
    for (int i = 0; i < 4; ++i) {
      out[i] = ToF32(reinterpret_cast<I32x16>(codes >> (8 * i) & 15) - 8);
      out[i + 4] = ToF32(reinterpret_cast<I32x16>(codes >> (8 * i + 4) & 15) - 8);
    }
  }
};

}  // namespace
}  // namespace hadal
