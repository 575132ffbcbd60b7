// What all ranks are to know of one another: errors, and a choice that one of them made.
#pragma once

#include "parallel/communicator.h"

namespace hadal {

/// All ranks get the first error of any rank, in rank order, so that none goes on alone. All call it together.
Status Agree(Communicator& world, const Status& mine, const char* what);

/// Rank 0's number on all ranks.
Result<int64_t> FromFirst(Communicator& world, int64_t value, const char* what);

}  // namespace hadal
