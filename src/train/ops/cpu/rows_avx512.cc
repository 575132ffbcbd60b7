#if defined(__x86_64__)
#define HADAL_TARGET cpu_avx512
#include "train/ops/cpu/rows.h"
#endif
