// Linear with dot-product instructions: bf16 pairs (vdpbf16ps) and int8 fours (vpdpbusd, vpmaddubsw, plain).
// Included once per target.
#pragma once

#include "kernels/cpu/linear.h"

namespace hadal {
namespace {

#if defined(__AVX512BF16__)
HADAL_INLINE F32x16 DotBF16(F32x16 sum, __m512i weights, uint32_t pair) {
  return reinterpret_cast<F32x16>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                                                   reinterpret_cast<__m512bh>(weights),
                                                   reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(pair)))));
}

/// BF16 weights, BF16 inputs.
struct BF16Dot {
  template <int MR, int NP>
  static HADAL_INLINE void Tile(const PanelWeight& w, const void* const* rows, int64_t panel, float* const* y) {
    F32x16 sum[MR][NP] = {};
    StripWalk walk(w, panel, 64);
    for (int64_t pair = 0; pair < w.padded_in / 2; ++pair, walk.at += walk.step) {
      for (int p = 0; p < NP; ++p) {
        const __m512i weights = _mm512_loadu_si512(walk.at + p * 64);
        if constexpr (MR > 1 && NP == kStrip) __builtin_prefetch(walk.at + p * 64 + kPrefetchBytes);
        for (int r = 0; r < MR; ++r)
          sum[r][p] = DotBF16(sum[r][p], weights, static_cast<const uint32_t*>(rows[r])[pair]);
      }
    }
    for (int r = 0; r < MR; ++r)
      for (int p = 0; p < NP; ++p) StoreOutputs(w, sum[r][p], panel + p, y[r]);
  }
};

/// FP8 weights widened to bf16 pairs (exactly), BF16 inputs, one scale per panel and 128 inputs.
struct Fp8Dot {
  template <int MR, int NP>
  static HADAL_INLINE void Tile(const PanelWeight& w, const void* const* rows, int64_t panel, float* const* y) {
    F32x16 total[MR][NP] = {};
    StripWalk walk(w, panel, 64);
    for (int64_t b = 0; b < w.scale_count; ++b) {
      const int64_t begin = b * kFp8Block;
      const int64_t end = begin + kFp8Block < w.padded_in ? begin + kFp8Block : w.padded_in;
      F32x16 sum[MR][NP] = {};
      for (int64_t k = begin; k < end; k += 4, walk.at += walk.step) {
        for (int p = 0; p < NP; ++p) {
          if constexpr (NP == kStrip) __builtin_prefetch(walk.at + p * 64 + kPrefetchBytes);
          __m512i pair01, pair23;
          E4M3ToBF16Pairs(_mm512_loadu_si512(walk.at + p * 64), &pair01, &pair23);
          for (int r = 0; r < MR; ++r) {
            const uint32_t* x = static_cast<const uint32_t*>(rows[r]) + k / 2;
            sum[r][p] = DotBF16(DotBF16(sum[r][p], pair01, x[0]), pair23, x[1]);
          }
        }
      }
      for (int p = 0; p < NP; ++p) {
        const F32x16 scale = Set1(static_cast<const float*>(w.scales)[(panel + p) * w.scale_count + b]);
        for (int r = 0; r < MR; ++r) total[r][p] = Fma(sum[r][p], scale, total[r][p]);
      }
    }
    for (int r = 0; r < MR; ++r)
      for (int p = 0; p < NP; ++p) StoreOutputs(w, total[r][p], panel + p, y[r]);
  }
};
#endif

/// sum + the products of four unsigned weight bytes per lane with the four signed bytes of x, in exact integers.
/// kSmall: weights are at most 15 (two products fit 16 bits as they are).
template <bool kSmall>
HADAL_INLINE I32x16 DotInt8(I32x16 sum, U32x16 weights, uint32_t x) {
#if defined(__AVX512VNNI__)
  return reinterpret_cast<I32x16>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum),
                                                      reinterpret_cast<__m512i>(weights),
                                                      _mm512_set1_epi32(static_cast<int>(x))));
#elif defined(__AVX2__)
  union Halves {
    I32x16 all;
    __m256i half[2];
  } s{sum}, u{reinterpret_cast<I32x16>(weights)};
  const __m256i ones = _mm256_set1_epi16(1), inputs = _mm256_set1_epi32(static_cast<int>(x));
  for (int i = 0; i < 2; ++i) {
    __m256i words;
    if constexpr (kSmall) {
      words = _mm256_maddubs_epi16(u.half[i], inputs);
    } else {
      // 255 * 127 * 2 would not fit 16 bits: split 128 + c into even 2 * (w / 2) and odd w % 2 parts, each exact.
      const __m256i half = _mm256_and_si256(_mm256_srli_epi16(u.half[i], 1), _mm256_set1_epi8(0x7f));
      const __m256i odd = _mm256_and_si256(u.half[i], _mm256_set1_epi8(1));
      const __m256i twice = _mm256_madd_epi16(_mm256_maddubs_epi16(half, inputs), _mm256_set1_epi16(2));
      s.half[i] = _mm256_add_epi32(s.half[i], twice);
      words = _mm256_maddubs_epi16(odd, inputs);
    }
    s.half[i] = _mm256_add_epi32(s.half[i], _mm256_madd_epi16(words, ones));
  }
  return s.all;
#else
  for (int i = 0; i < 4; ++i)
    sum += reinterpret_cast<I32x16>(weights >> (8 * i) & 0xff) * static_cast<int32_t>(static_cast<int8_t>(x >> (8 * i)));
  return sum;
#endif
}

/// INT8 weights: 64 bytes hold four inputs.
struct Int8Four {
  static constexpr int kStep = 4, kOffset = 128;
  static HADAL_INLINE I32x16 Dot(I32x16 sum, U32x16 codes, const uint32_t* x) { return DotInt8<false>(sum, codes, x[0]); }
};

/// INT4 weights: 64 bytes hold eight inputs, four in the low nibbles and four in the high.
struct Int4Eight {
  static constexpr int kStep = 8, kOffset = 8;
  static HADAL_INLINE I32x16 Dot(I32x16 sum, U32x16 codes, const uint32_t* x) {
    return DotInt8<true>(DotInt8<true>(sum, codes & 0x0f0f0f0fu, x[0]), codes >> 4 & 0x0f0f0f0fu, x[1]);
  }
};

/// Integer codes times int8 inputs: exact integer sums per group, then one fused multiply-add per group in f32.
template <class Format>
struct IntDot {
  template <int MR, int NP>
  static HADAL_INLINE void Tile(const PanelWeight& w, const void* const* rows, int64_t panel, float* const* y) {
    F32x16 total[MR][NP] = {};
    const int64_t own = (w.padded_in + 63) / 64 * 64;  // where a row's scales begin
    StripWalk walk(w, panel, 64);
    for (int64_t g = 0; g < w.scale_count; ++g) {
      I32x16 sum[MR][NP] = {};
      for (int64_t k = g * w.group; k < (g + 1) * w.group; k += Format::kStep, walk.at += walk.step) {
        for (int p = 0; p < NP; ++p) {
          U32x16 codes;
          __builtin_memcpy(&codes, walk.at + p * 64, 64);
          if constexpr (NP == kStrip) __builtin_prefetch(walk.at + p * 64 + kPrefetchBytes);
          for (int r = 0; r < MR; ++r)
            sum[r][p] = Format::Dot(sum[r][p], codes, static_cast<const uint32_t*>(rows[r]) + k / 4);
        }
      }
      for (int p = 0; p < NP; ++p) {
        if constexpr (NP == kStrip) __builtin_prefetch(walk.at + p * 64 + kPrefetchBytes);
        const F32x16 scale = walk.Scales(w, p);
        for (int r = 0; r < MR; ++r) {
          const char* aux = static_cast<const char*>(rows[r]) + own;
          const float row_scale = reinterpret_cast<const float*>(aux)[g];
          const int32_t row_sum = reinterpret_cast<const int32_t*>(aux)[w.scale_count + g];
          total[r][p] = Fma(ToF32(sum[r][p] - Format::kOffset * row_sum), scale * Set1(row_scale), total[r][p]);
        }
      }
      walk.SkipScales();
    }
    for (int r = 0; r < MR; ++r)
      for (int p = 0; p < NP; ++p) StoreOutputs(w, total[r][p], panel + p, y[r]);
  }
};

}  // namespace
}  // namespace hadal
