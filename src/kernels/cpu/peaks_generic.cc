#define HADAL_TARGET cpu_generic
#include "kernels/cpu/peaks.h"
