// Input rows as the Linear kernels read them (layouts: PreparedRowBytes). Included once per target.
#pragma once

#include "kernels/cpu/simd.h"
#include "kernels/kernel_table.h"

namespace hadal {
namespace {

HADAL_INLINE F32x16 Abs(F32x16 v) { return FromBits(reinterpret_cast<U32x16>(v) & 0x7fffffffu); }

/// Round to nearest even, for |x| < 2^22, by adding and taking away 1.5 * 2^23.
HADAL_INLINE F32x16 RoundNearest(F32x16 x) { return (x + Set1(0x1.8p23f)) - Set1(0x1.8p23f); }

/// max |x[i]| over count values; NaN if one is NaN. Magnitudes are compared as integers, which order as the floats do
/// and put NaN above infinity.
HADAL_INLINE float AbsMax(const float* x, int64_t count) {
  I32x16 top = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const I32x16 magnitude = reinterpret_cast<I32x16>(Abs(Load(x + i)));
    top = magnitude > top ? magnitude : top;
  }
  int32_t best = 0;
  for (int lane = 0; lane < 16; ++lane) best = top[lane] > best ? top[lane] : best;
  for (; i < count; ++i) {
    int32_t magnitude;
    __builtin_memcpy(&magnitude, x + i, 4);
    magnitude &= 0x7fffffff;
    best = magnitude > best ? magnitude : best;
  }
  float value;
  __builtin_memcpy(&value, &best, 4);
  return value;
}

HADAL_INLINE void PrepareF32(const PanelWeight& w, const float* x, float* out) {
  __builtin_memcpy(out, x, static_cast<size_t>(w.in) * sizeof(float));
  for (int64_t k = w.in; k < w.padded_in; ++k) out[k] = 0;
}

HADAL_INLINE uint16_t OneBF16(float x) {
  const F32x16 v = Set1(x);
  uint16_t codes[16];
  StoreBF16(v, codes);
  return codes[0];
}

/// bf16 codes, or (kAsFloat) their values.
template <bool kAsFloat>
HADAL_INLINE void PrepareBF16(const PanelWeight& w, const float* x, void* out) {
  float* values = static_cast<float*>(out);
  uint16_t* codes = static_cast<uint16_t*>(out);
  int64_t k = 0;
  for (; k + 16 <= w.in; k += 16) {
    if constexpr (kAsFloat)
      Store(FromBits(BF16Bits(Load(x + k)) << 16), values + k);
    else
      StoreBF16(Load(x + k), codes + k);
  }
  for (; k < w.padded_in; ++k) {
    const uint16_t code = k < w.in ? OneBF16(x[k]) : 0;
    if constexpr (kAsFloat)
      values[k] = FromBits(U32x16{} + (static_cast<uint32_t>(code) << 16))[0];
    else
      codes[k] = code;
  }
}

/// int8 codes, a scale and the codes' sum per group: scale = amax / 127, code = round(x * (127 / amax)).
/// A group so small that 127 / amax overflows (below 4e-37) counts as zeros. One that is not finite has no codes: its
/// scale is NaN, and so is every product with it.
HADAL_INLINE void PrepareInt8(const PanelWeight& w, const float* x, void* out) {
  int8_t* codes = static_cast<int8_t*>(out);
  char* own = static_cast<char*>(out) + (w.padded_in + 63) / 64 * 64;
  float* scales = reinterpret_cast<float*>(own);
  int32_t* sums = reinterpret_cast<int32_t*>(own) + w.scale_count;
  for (int64_t g = 0; g < w.scale_count; ++g) {
    const int64_t begin = g * w.group;
    const int64_t end = begin + w.group < w.in ? begin + w.group : w.in;
    const float amax = AbsMax(x + begin, end - begin);
    const float inverse = 127.0f / amax;
    const bool finite = amax < __builtin_inff(), vanishes = inverse == __builtin_inff();
    scales[g] = vanishes ? 0.0f : finite ? amax / 127.0f : __builtin_nanf("");
    int32_t sum = 0;
    int64_t k = begin;
    if (!finite || vanishes) {
      for (; k < end; ++k) codes[k] = 0;
    }
    for (; k + 16 <= end; k += 16) {
      const I32x16 code = __builtin_convertvector(RoundNearest(Load(x + k) * Set1(inverse)), I32x16);
      for (int i = 0; i < 16; ++i) {
        codes[k + i] = static_cast<int8_t>(code[i]);
        sum += code[i];
      }
    }
    for (; k < end; ++k) {
      const int32_t code = static_cast<int32_t>(RoundNearest(Set1(x[k] * inverse))[0]);
      codes[k] = static_cast<int8_t>(code);
      sum += code;
    }
    for (; k < begin + w.group; ++k) codes[k] = 0;
    sums[g] = sum;
  }
}

/// The value of the e4m3 code nearest x (ties to even), |x| <= 448. Rounding to 3 bits of mantissa is adding and
/// taking away a number whose unit in the last place is the code's: 2^(exponent - 3), at least 2^-9.
HADAL_INLINE float RoundE4M3(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  uint32_t exponent = bits >> 23 & 0xff;
  if (exponent < 121) exponent = 121;  // below 2^-6 codes are multiples of 2^-9
  const uint32_t magic_bits = (exponent + 20) << 23 | 0x400000;  // 1.5 * 2^(exponent + 20): unit 2^(exponent - 3)
  float magic;
  __builtin_memcpy(&magic, &magic_bits, 4);
  const float rounded = (x + magic) - magic;
  return rounded > 448.0f ? 448.0f : rounded < -448.0f ? -448.0f : rounded;
}

/// FP8 weights take codes and scales; other weights take the products, code * scale.
HADAL_INLINE void PrepareE4M3(const PanelWeight& w, const float* x, void* out) {
  float* values = static_cast<float*>(out);
  float* scales = reinterpret_cast<float*>(static_cast<char*>(out) + (w.padded_in * 4 + 63) / 64 * 64);
  for (int64_t b = 0; b * kFp8Block < w.in; ++b) {
    const int64_t begin = b * kFp8Block;
    const int64_t end = begin + kFp8Block < w.in ? begin + kFp8Block : w.in;
    float amax = AbsMax(x + begin, end - begin);
    amax = amax < 1e-4f ? 1e-4f : amax;
    float scale = amax / 448.0f;
    if (w.input == InputFormat::kE4M3Pow2) {  // up to a power of two: 2^ceil(log2 scale), exactly
      uint32_t bits;
      __builtin_memcpy(&bits, &scale, 4);
      bits = (bits + 0x7fffff) & 0xff800000u;
      __builtin_memcpy(&scale, &bits, 4);
    }
    const bool codes = w.format == WeightFormat::kFp8;
    if (codes) scales[b] = scale;
    for (int64_t k = begin; k < end; ++k) values[k] = RoundE4M3(x[k] / scale) * (codes ? 1.0f : scale);
  }
  for (int64_t k = w.in; k < w.padded_in; ++k) values[k] = 0;
}

template <bool kBF16AsFloat>
void Prepare(const PanelWeight& w, const float* x, void* out) {
  switch (w.input) {
    case InputFormat::kF32: return PrepareF32(w, x, static_cast<float*>(out));
    case InputFormat::kBF16: return PrepareBF16<kBF16AsFloat>(w, x, out);
    case InputFormat::kInt8: return PrepareInt8(w, x, out);
    case InputFormat::kE4M3:
    case InputFormat::kE4M3Pow2: return PrepareE4M3(w, x, out);
  }
}

}  // namespace
}  // namespace hadal
