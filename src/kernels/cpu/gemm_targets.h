// One table of matrix products per instruction set. Compiled under each one's flags: no inline functions
// here.
#pragma once

namespace hadal {
struct GemmTable;
namespace cpu_generic {
const GemmTable& Gemms();
}
namespace cpu_avx2 {
const GemmTable& Gemms();
}
namespace cpu_avx512 {
const GemmTable& Gemms();
}
}  // namespace hadal
