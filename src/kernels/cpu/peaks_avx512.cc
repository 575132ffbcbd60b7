#if defined(__x86_64__)
#define HADAL_TARGET cpu_avx512
#include "kernels/cpu/peaks.h"
#endif
