#include "train/ops/rows.h"

#include "base/check.h"
#include "train/ops/cpu/rows_targets.h"

namespace hadal::train {

const RowTable& CpuRows(Isa isa) {
  HADAL_CHECK(isa <= BestIsa(), "this processor does not have {}", IsaName(isa));
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return cpu_avx512::Rows();
  if (isa == Isa::kAvx2) return cpu_avx2::Rows();
#endif
  return cpu_generic::Rows();
}

template <>
const RowKernels<double>& RowsOf<double>(const RowTable& table) {
  return table.f64;
}
template <>
const RowKernels<float>& RowsOf<float>(const RowTable& table) {
  return table.f32;
}

}  // namespace hadal::train
