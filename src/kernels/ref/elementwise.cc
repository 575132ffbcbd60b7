#include <cmath>

#include "kernels/ref/reference.h"

namespace hadal::reference {

void RmsNorm(const float* x, const float* gain, float eps, int64_t width, float* y) {
  double squares = 0;
  for (int64_t i = 0; i < width; ++i) squares += double{x[i]} * x[i];
  const double root = std::sqrt(squares / static_cast<double>(width) + eps);
  for (int64_t i = 0; i < width; ++i) y[i] = static_cast<float>(x[i] / root * gain[i]);
}

void SwiGlu(const float* gate, const float* up, int64_t width, float* y) {
  for (int64_t i = 0; i < width; ++i) {
    const double silu = gate[i] / (1 + std::exp(-double{gate[i]}));
    y[i] = static_cast<float>(silu * up[i]);
  }
}

void Rope(float* x, const float* cosine, const float* sine, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    const double real = x[2 * i], imaginary = x[2 * i + 1];
    x[2 * i] = static_cast<float>(real * cosine[i] - imaginary * sine[i]);
    x[2 * i + 1] = static_cast<float>(real * sine[i] + imaginary * cosine[i]);
  }
}

void AddScaled(const float* x, float a, int64_t width, float* y) {
  for (int64_t i = 0; i < width; ++i) y[i] = static_cast<float>(double{y[i]} + double{a} * x[i]);
}

}  // namespace hadal::reference
