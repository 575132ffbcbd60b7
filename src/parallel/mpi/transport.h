// What the MPI library beside the program offers to it.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace hadal {

struct LaunchOptions;

inline constexpr const char* kMpiTransportFile = "libhadal_mpi.so";
inline constexpr const char* kMpiTransportSymbol = "hadal_open_mpi_world";
/// Starts MPI if it is not, and makes the communicator of all ranks. Program and library are of one build.
using OpenMpiWorld = void(const LaunchOptions& options, Result<std::unique_ptr<Communicator>>& world);

}  // namespace hadal
