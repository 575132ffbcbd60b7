#if defined(__x86_64__)
#define HADAL_TARGET cpu_avx2
#define HADAL_TARGET_NAME "avx2"
#include "kernels/cpu/gemm.h"
#endif
