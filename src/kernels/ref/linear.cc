#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/ref/reference.h"
#include "tensor/dtype.h"

namespace hadal::reference {
namespace {

LinearWeight ToLinearWeight(const PanelWeight& w) {
  LinearWeight linear;
  linear.out = w.out;
  linear.in = w.in;
  linear.format = w.format;
  linear.input = w.input;
  linear.group = w.group;
  linear.panels = w.panels;
  linear.scales = w.scales;
  linear.scales_bf16 = w.scales_bf16;
  return linear;
}

/// Inputs that share one of the row's own scales; 0 if the row has none.
int64_t InputGroup(InputFormat input, int64_t weight_group) {
  switch (input) {
    case InputFormat::kF32:
    case InputFormat::kBF16:
      return 0;
    case InputFormat::kInt8:
      return weight_group;
    case InputFormat::kE4M3:
    case InputFormat::kE4M3Pow2:
      return kFp8Block;
  }
  return 0;
}

/// Where the row's own scales lie.
size_t OwnOffset(const PanelWeight& w) {
  return static_cast<size_t>(PreparedValueBytes(w, /*bf16_pairs=*/false));
}

/// A code is round(x * (127 / amax)), its scale amax / 127. A group too small to have codes (127 / amax
/// overflows) counts as zeros; one that is not finite has the scale NaN.
void PrepareInt8(const PanelWeight& w, const float* x, char* prepared) {
  std::memset(prepared, 0, static_cast<size_t>(PreparedRowBytes(w, false)));
  for (int64_t g = 0; g < w.scale_count; ++g) {
    const int64_t begin = g * w.group, end = std::min(begin + w.group, w.in);
    float amax = 0;
    bool finite = true;
    for (int64_t k = begin; k < end; ++k) {
      finite = finite && std::isfinite(x[k]);
      amax = std::max(amax, std::fabs(x[k]));
    }
    const float inverse = 127.0f / amax;
    const bool vanishes = std::isinf(inverse);
    int32_t sum = 0;
    for (int64_t k = begin; k < end && finite && !vanishes; ++k) {
      const auto code = static_cast<int8_t>(std::nearbyint(x[k] * inverse));
      std::memcpy(prepared + k, &code, 1);
      sum += code;
    }
    float scale = vanishes ? 0 : amax / 127.0f;
    if (!finite) scale = std::numeric_limits<float>::quiet_NaN();
    char* own = prepared + OwnOffset(w);
    std::memcpy(own + g * 4, &scale, 4);
    std::memcpy(own + (w.scale_count + g) * 4, &sum, 4);
  }
}

/// Code k is e4m3(x / s) with s = max(amax, 1e-4) / 448 of its 128 inputs; the row holds the codes' values
/// for FP8 weights, and their products with s for others.
void PrepareE4M3(const PanelWeight& w, const float* x, char* prepared) {
  float* values = reinterpret_cast<float*>(prepared);
  float* scales = reinterpret_cast<float*>(prepared + OwnOffset(w));
  const bool codes = w.format == WeightFormat::kFp8;
  for (int64_t b = 0; b * kFp8Block < w.in; ++b) {
    const int64_t begin = b * kFp8Block, end = std::min(begin + kFp8Block, w.in);
    float amax = 1e-4f;
    for (int64_t k = begin; k < end; ++k) amax = std::max(amax, std::fabs(x[k]));
    float scale = amax / 448.0f;
    if (w.input == InputFormat::kE4M3Pow2) {
      int exponent = 0;
      const float fraction =
          std::frexp(scale, &exponent);  // scale = fraction * 2^exponent, fraction in [0.5, 1)
      scale = std::ldexp(1.0f, fraction == 0.5f ? exponent - 1 : exponent);
    }
    if (codes) scales[b] = scale;
    for (int64_t k = begin; k < end; ++k) values[k] = ToFloat(ToE4M3(x[k] / scale)) * (codes ? 1.0f : scale);
  }
  for (int64_t k = w.in; k < w.padded_in; ++k) values[k] = 0;
}

}  // namespace

std::vector<double> WeightRow(const PanelWeight& w, int64_t output) {
  const LinearWeight linear = ToLinearWeight(w);
  std::vector<double> row(static_cast<size_t>(w.in));
  for (int64_t k = 0; k < w.in; ++k)
    row[static_cast<size_t>(k)] = double{PackedCode(linear, output, k)} * PackedScale(linear, output, k);
  return row;
}

std::vector<double> InputValues(const PanelWeight& w, const void* prepared) {
  const char* own = static_cast<const char*>(prepared) + OwnOffset(w);
  // e4m3 inputs of weights other than FP8 carry their scale already.
  const bool products =
      w.format != WeightFormat::kFp8 && (w.input == InputFormat::kE4M3 || w.input == InputFormat::kE4M3Pow2);
  const int64_t group = products ? 0 : InputGroup(w.input, w.group);
  std::vector<double> values(static_cast<size_t>(w.in));
  for (int64_t k = 0; k < w.in; ++k) {
    double value = 0;
    if (w.input == InputFormat::kInt8)
      value = static_cast<const int8_t*>(prepared)[k];
    else
      value = static_cast<const float*>(prepared)[k];
    float scale = 1;
    if (group > 0) std::memcpy(&scale, own + k / group * 4, 4);
    values[static_cast<size_t>(k)] = value * scale;
  }
  return values;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void Prepare(const PanelWeight& w, const float* x, void* prepared) {
  switch (w.input) {
    case InputFormat::kF32:
    case InputFormat::kBF16: {
      float* values = static_cast<float*>(prepared);
      for (int64_t k = 0; k < w.padded_in; ++k)
        values[k] = k >= w.in ? 0 : w.input == InputFormat::kBF16 ? RoundToBF16(x[k]) : x[k];
      return;
    }
    case InputFormat::kInt8:
      return PrepareInt8(w, x, static_cast<char*>(prepared));
    case InputFormat::kE4M3:
    case InputFormat::kE4M3Pow2:
      return PrepareE4M3(w, x, static_cast<char*>(prepared));
  }
}

void Linear(const PanelWeight& w, const void* const* rows, int64_t m, int64_t first_panel,
            int64_t panel_count, float* const* y) {
  std::vector<std::vector<double>> inputs;
  for (int64_t r = 0; r < m; ++r) inputs.push_back(InputValues(w, rows[r]));
  const int64_t end = std::min((first_panel + panel_count) * kPanel, w.out);
  for (int64_t o = first_panel * kPanel; o < end; ++o) {
    const std::vector<double> weights = WeightRow(w, o);
    for (int64_t r = 0; r < m; ++r)
      y[r][o] = static_cast<float>(Dot(inputs[static_cast<size_t>(r)], weights));
  }
}

}  // namespace hadal::reference
