// Row operations on vectors. Included once per target.
#pragma once

#include "kernels/cpu/simd.h"

namespace hadal {
namespace {

void RmsNormRow(const float* x, const float* gain, float eps, int64_t width, float* y) {
  F32x16 squares = Zero();
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) squares = Fma(Load(x + i), Load(x + i), squares);
  float sum = ReduceAdd(squares);
  for (; i < width; ++i) sum += x[i] * x[i];
  const float r = 1.0f / __builtin_sqrtf(sum / static_cast<float>(width) + eps);
  for (i = 0; i + 16 <= width; i += 16) Store(Load(x + i) * Set1(r) * Load(gain + i), y + i);
  for (; i < width; ++i) y[i] = x[i] * r * gain[i];
}

HADAL_INLINE F32x16 SiluTimes(F32x16 gate, F32x16 up) { return gate / (Set1(1.0f) + Exp(-gate)) * up; }

void SwiGluRow(const float* gate, const float* up, int64_t width, float* y) {
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) Store(SiluTimes(Load(gate + i), Load(up + i)), y + i);
  for (; i < width; ++i) y[i] = SiluTimes(Set1(gate[i]), Set1(up[i]))[0];
}

void RopeRow(float* x, const float* cosine, const float* sine, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosine[i] - b * sine[i];
    x[2 * i + 1] = b * cosine[i] + a * sine[i];
  }
}

void AddScaledRow(const float* x, float a, int64_t width, float* y) {
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) Store(Fma(Set1(a), Load(x + i), Load(y + i)), y + i);
  for (; i < width; ++i) y[i] = Fma(Set1(a), Set1(x[i]), Set1(y[i]))[0];
}

}  // namespace
}  // namespace hadal
