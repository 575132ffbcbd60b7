// For tests of promises not to allocate.
#pragma once

#include <cstdint>

namespace hadal {

/// Allocations by this thread so far, of this test program. Sanitizers have their own operator new: always 0
/// then.
int64_t AllocationsOfThisThread();

}  // namespace hadal
