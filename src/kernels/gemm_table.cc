#include "kernels/gemm_table.h"

#include "base/check.h"
#include "kernels/cpu/gemm_targets.h"

namespace hadal {

const GemmTable& CpuGemm(Isa isa) {
  HADAL_CHECK(isa <= BestIsa(), "this processor does not have {}", IsaName(isa));
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return cpu_avx512::Gemms();
  if (isa == Isa::kAvx2) return cpu_avx2::Gemms();
#endif
  return cpu_generic::Gemms();
}

template <>
const GemmFormat<double>& FormatOf<double>(const GemmTable& table, Compute compute) {
  HADAL_CHECK(compute == Compute::kF64, "doubles are multiplied as doubles, not in format {}",
              static_cast<int>(compute));
  return table.f64;
}

template <>
const GemmFormat<float>& FormatOf<float>(const GemmTable& table, Compute compute) {
  HADAL_CHECK(compute != Compute::kF64, "floats are multiplied in f32, bf16 or f16, not in f64");
  if (compute == Compute::kBF16) return table.bf16;
  return compute == Compute::kF16 ? table.f16 : table.f32;
}

namespace {

template <typename T>
int64_t PanelBytes(const GemmFormat<T>& f, int64_t lanes, int64_t depth) {
  return (depth + f.depth_step - 1) / f.depth_step * f.depth_step * lanes * f.element_bytes;
}

}  // namespace

template <typename T>
int64_t PanelBytesA(const GemmFormat<T>& format, int64_t depth) {
  return PanelBytes(format, format.mr, depth);
}
template <typename T>
int64_t PanelBytesB(const GemmFormat<T>& format, int64_t depth) {
  return PanelBytes(format, format.nr, depth);
}

template int64_t PanelBytesA(const GemmFormat<double>&, int64_t);
template int64_t PanelBytesA(const GemmFormat<float>&, int64_t);
template int64_t PanelBytesB(const GemmFormat<double>&, int64_t);
template int64_t PanelBytesB(const GemmFormat<float>&, int64_t);

}  // namespace hadal
