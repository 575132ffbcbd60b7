// One rank of a world that mpirun started: checks every primitive, or (with an argument) breaks in a chosen way.
//   mpi_check FLIGHT_DIR            all primitives; prints "ok" on rank 0
//   mpi_check FLIGHT_DIR hang|kill  the last rank stops answering; the others must name it
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <numeric>
#include <vector>

#include "parallel/launch.h"

namespace hadal {
namespace {

template <typename T>
Status Expect(const std::vector<T>& found, const std::vector<T>& expected, const char* what) {
  if (found == expected) return {};
  return DataLoss("{}: another result", what);
}

Status CheckAll(Communicator& world) {
  const int rank = world.rank(), ranks = world.size();
  RETURN_IF_ERROR(world.Barrier("start"));

  std::vector<int64_t> all(ranks), numbers(ranks);
  std::iota(numbers.begin(), numbers.end(), 0);
  const int64_t mine = rank;
  RETURN_IF_ERROR(world.AllGather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)), "gather"));
  RETURN_IF_ERROR(Expect(all, numbers, "gather"));

  // A part that travels in several messages, out of place and in place.
  constexpr size_t kPart = 10'007;
  std::vector<int32_t> part(kPart, rank), parts(kPart * ranks), together;
  for (int r = 0; r < ranks; ++r) together.insert(together.end(), kPart, r);
  RETURN_IF_ERROR(world.AllGather(std::as_bytes(std::span(part)), std::as_writable_bytes(std::span(parts)), "large"));
  RETURN_IF_ERROR(Expect(parts, together, "large"));
  std::fill(parts.begin(), parts.end(), -1);
  const auto own = std::span(parts).subspan(kPart * rank, kPart);
  std::fill(own.begin(), own.end(), rank);
  RETURN_IF_ERROR(world.AllGather(std::as_bytes(own), std::as_writable_bytes(std::span(parts)), "large in place"));
  RETURN_IF_ERROR(Expect(parts, together, "large in place"));

  constexpr int64_t kCount = 700'001;
  std::vector<float> x(kCount), sum(kCount);
  for (int64_t i = 0; i < kCount; ++i) {
    for (int r = 0; r < ranks; ++r) sum[i] += static_cast<float>((r + 1) * (i % 977)) * 0.3f;
    x[i] = static_cast<float>((rank + 1) * (i % 977)) * 0.3f;
  }
  RETURN_IF_ERROR(world.AllReduceSum(std::span(x), "sum"));
  RETURN_IF_ERROR(Expect(x, sum, "sum"));

  // A pipeline's worst order: everybody sends first, several messages deep.
  const int next = (rank + 1) % ranks, previous = (rank + ranks - 1) % ranks;
  std::vector<int32_t> out(100'000), in(100'000);
  for (int round = 0; round < 3; ++round) {
    std::fill(out.begin(), out.end(), rank * 10 + round);
    RETURN_IF_ERROR(world.Send(next, std::as_bytes(std::span(out)), "ring"));
  }
  for (int round = 0; round < 3; ++round) {
    RETURN_IF_ERROR(world.Receive(previous, std::as_writable_bytes(std::span(in)), "ring"));
    RETURN_IF_ERROR(Expect(in, std::vector<int32_t>(in.size(), previous * 10 + round), "ring"));
  }

  ASSIGN_OR_RETURN(const auto half, world.Split(rank % 2, rank));
  int64_t one = 1;
  RETURN_IF_ERROR(half->AllReduceSum(std::span(&one, 1), "half"));
  if (one != half->size()) return DataLoss("half: {} of {}", one, half->size());
  return world.Barrier("end");
}

Status Break(Communicator& world, bool dies) {
  RETURN_IF_ERROR(world.Barrier("last step"));
  if (world.rank() == world.size() - 1) {
    if (dies) kill(getpid(), SIGKILL);
    for (;;) pause();  // mpirun ends it when the others have failed
  }
  return world.Barrier("gradients");
}

int Main(int argc, char** argv) {
  const bool breaks = argc > 2;
  LaunchOptions options{.flight_dir = argv[1], .message_bytes = 1000};  // small, so that parts are cut
  if (breaks) options.limit = std::chrono::seconds(std::strcmp(argv[2], "hang") == 0 ? 2 : 60);
  Result<std::unique_ptr<Communicator>> world = OpenWorld(options);
  Status status = world ? (breaks ? Break(**world, std::strcmp(argv[2], "kill") == 0) : CheckAll(**world))
                        : Status(tl::unexpected(world.error()));
  if (!status) std::fprintf(stderr, "%s\n", status.error().message.c_str());
  if (status && (*world)->rank() == 0) std::printf("ok: %d ranks\n", (*world)->size());
  if (!status) _exit(2);  // a destructor would wait for ranks that are gone
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return hadal::Main(argc, argv);
}
