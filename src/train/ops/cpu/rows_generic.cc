#define HADAL_TARGET cpu_generic
#include "train/ops/cpu/rows.h"
