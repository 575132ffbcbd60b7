// Ranks that are threads of one process: for tests of what is written against Communicator, without a launcher.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "parallel/communicator.h"

namespace hadal {

/// Runs body(world) on `ranks` threads, each with its own communicator of a world of that size, and returns the
/// first rank's error in rank order, if any. An operation that waits for a rank longer than `limit` fails with
/// kUnavailable; so does one that waits for a rank whose body has returned.
Status RunRanks(int ranks, std::chrono::milliseconds limit, const std::function<Status(Communicator& world)>& body);

}  // namespace hadal
