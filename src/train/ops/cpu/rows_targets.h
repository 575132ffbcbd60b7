// One table of row kernels per instruction set. Compiled under each one's flags: no inline functions here.
#pragma once

namespace hadal::train {
struct RowTable;
namespace cpu_generic {
const RowTable& Rows();
}
namespace cpu_avx2 {
const RowTable& Rows();
}
namespace cpu_avx512 {
const RowTable& Rows();
}
}  // namespace hadal::train
