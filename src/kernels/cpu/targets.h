// One table per instruction set; each is built from the same kernel headers under its own compiler flags.
#pragma once

namespace hadal {
struct KernelTable;
namespace cpu_generic {
const KernelTable& Table();
}
namespace cpu_avx2 {
const KernelTable& Table();
}
namespace cpu_avx512 {
const KernelTable& Table();
}
}  // namespace hadal
