#include "parallel/launch.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "parallel/mpi/transport.h"

namespace hadal {
namespace {

int EnvironmentNumber(std::initializer_list<const char*> names, int otherwise) {
  for (const char* name : names)
    if (const char* text = std::getenv(name)) {
      const int number = std::atoi(text);
      if (number >= 0) return number;
    }
  return otherwise;
}

}  // namespace

int LaunchedRanks() { return std::max(1, EnvironmentNumber({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}, 1)); }
int LaunchedRanksHere() {
  return std::max(1, EnvironmentNumber({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}, LaunchedRanks()));
}
int LaunchedRank() { return EnvironmentNumber({"OMPI_COMM_WORLD_RANK", "PMI_RANK"}, 0); }

Result<std::unique_ptr<Communicator>> OpenWorld(const LaunchOptions& options) {
  if (LaunchedRanks() == 1) return std::make_unique<LoopbackCommunicator>();
  std::error_code error;
  const Path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return FailedPrecondition("/proc/self/exe: {}", error.message());
  const Path library = program.parent_path() / kMpiTransportFile;
  // Never closed: MPI keeps threads and handlers in it until the process ends.
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return FailedPrecondition("{} ranks were started, and the MPI transport cannot be loaded: {}; build it with Open "
                              "MPI 4.1 installed (openmpi-bin, libopenmpi-dev), or start one rank without mpirun",
                              LaunchedRanks(), dlerror());
  const auto open = reinterpret_cast<OpenMpiWorld*>(dlsym(handle, kMpiTransportSymbol));
  if (!open) return FailedPrecondition("{}: no symbol {}; it is of another build", library.string(), kMpiTransportSymbol);
  Result<std::unique_ptr<Communicator>> world;
  open(options, world);
  return world;
}

}  // namespace hadal
