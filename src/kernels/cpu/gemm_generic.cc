#define HADAL_TARGET cpu_generic
#define HADAL_TARGET_NAME "generic"
#include "kernels/cpu/gemm.h"
