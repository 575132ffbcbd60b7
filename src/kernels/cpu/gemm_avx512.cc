#if defined(__x86_64__)
#define HADAL_TARGET cpu_avx512
#define HADAL_TARGET_NAME "avx512"
#include "kernels/cpu/gemm.h"
#endif
