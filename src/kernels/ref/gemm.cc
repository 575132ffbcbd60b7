#include <type_traits>

#include "kernels/gemm_table.h"
#include "tensor/dtype.h"

namespace hadal {
namespace {

float Same(float x) { return x; }
float AsF16(float x) { return ToFloat(ToF16(x)); }
float AsBF16(float x) { return RoundToBF16(x); }

/// Panels of one lane: depth doubles.
template <typename T, float (*Round)(float)>
void Pack(const PackSource<T>& s, int64_t panel_bytes, std::byte* panels) {
  for (int64_t lane = 0; lane < s.lanes; ++lane) {
    double* panel = reinterpret_cast<double*>(panels + lane * panel_bytes);
    for (int64_t k = 0; k < s.depth; ++k) {
      const T x = s.depth_contiguous ? s.data[lane * s.stride + k] : s.data[k * s.stride + lane];
      if constexpr (std::is_same_v<T, double>)
        panel[k] = x;
      else
        panel[k] = double{Round(x)};
    }
  }
}

template <typename T>
void Multiply(const PackedProduct<T>& p) {
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      const double* a = reinterpret_cast<const double*>(p.a + i * p.a_panel_bytes);
      const double* b = reinterpret_cast<const double*>(p.b + j * p.b_panel_bytes);
      T& c = p.c[i * p.c_stride + j];
      double sum = p.accumulate ? double{c} : 0.0;
      for (int64_t k = 0; k < p.depth; ++k) sum += a[k] * b[k];
      c = static_cast<T>(sum);
    }
  }
}

template <typename T, float (*Round)(float)>
constexpr GemmFormat<T> kFormat{.mr = 1,
                                .nr = 1,
                                .depth_step = 1,
                                .element_bytes = sizeof(double),
                                .pack_a = Pack<T, Round>,
                                .pack_b = Pack<T, Round>,
                                .multiply = Multiply<T>};

}  // namespace

const GemmTable& ReferenceGemm() {
  static constexpr GemmTable kTable{.name = "reference",
                                    .f64 = kFormat<double, Same>,
                                    .f32 = kFormat<float, Same>,
                                    .bf16 = kFormat<float, AsBF16>,
                                    .f16 = kFormat<float, AsF16>};
  return kTable;
}

}  // namespace hadal
