// The world that a process was started in: alone, or as one rank of mpirun.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "base/file.h"
#include "parallel/communicator.h"

namespace hadal {

struct LaunchOptions {
  /// An operation that waits longer for another rank fails, naming who is missing.
  std::chrono::milliseconds limit = std::chrono::minutes(10);
  /// A folder that all ranks see, where each records what it does; empty: none.
  Path flight_dir;
  /// Whether a signal asked this process to end, as mpirun does with all ranks when one has died; null: never. The
  /// operations go on (the ranks may agree to save first), but a rank that is gone ends them at once.
  std::function<bool()> told_to_end;
  /// Bytes that travel in one message between two ranks; more go in several. Below 2 GiB, MPI's limit.
  size_t message_bytes = size_t{1} << 30;
};

/// How many ranks a launcher started, by its environment (mpirun's, or PMI's); 1 without one.
int LaunchedRanks();
/// This process's place among them; 0 without a launcher.
int LaunchedRank();
/// How many of them are on this machine.
int LaunchedRanksHere();

/// The world. One rank needs nothing; more are connected through MPI, whose transport is a library of its own beside
/// the program (so that what does not need MPI does not load it). kFailedPrecondition: the transport or MPI itself is
/// missing, with what to install.
Result<std::unique_ptr<Communicator>> OpenWorld(const LaunchOptions& options);

}  // namespace hadal
