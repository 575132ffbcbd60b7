// One rank of a world that mpirun started: checks every primitive, or (with an argument) breaks in a chosen way.
//   mpi_check FLIGHT_DIR            all primitives; prints "ok" on rank 0
//   mpi_check FLIGHT_DIR hang|kill|split|work|work-kill
//     the last rank stops answering, dies, does not come to a split, works longer than the limit, or dies at that; the
//     others must name it, or wait
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <numeric>
#include <string_view>
#include <vector>

#include "parallel/launch.h"

namespace hadal {
namespace {

template <typename T>
Status Expect(const std::vector<T>& found, const std::vector<T>& expected, const char* what) {
  if (found == expected) return {};
  return DataLoss("{}: another result", what);
}

/// Parts of every length around that of a message, in buffers that are longer than one: what this rank sends to `to`.
std::vector<std::byte> Part(int from, int to) {
  const int64_t lengths[] = {0, 1, 999, 1000, 1001, 2000, 12'345};
  return std::vector<std::byte>(static_cast<size_t>(lengths[(from * 3 + to * 2) % 7]), static_cast<std::byte>(16 * from + to));
}

Status CheckExchange(Communicator& world) {
  std::vector<std::byte> send, expected;
  std::vector<int64_t> sends, receives;
  for (int r = 0; r < world.size(); ++r) {
    const std::vector<std::byte> out = Part(world.rank(), r), in = Part(r, world.rank());
    send.insert(send.end(), out.begin(), out.end());
    expected.insert(expected.end(), in.begin(), in.end());
    sends.push_back(static_cast<int64_t>(out.size()));
    receives.push_back(static_cast<int64_t>(in.size()));
  }
  std::vector<std::byte> receive(expected.size());
  // Twice: nothing of the first is left behind.
  for (int i = 0; i < 2; ++i) {
    std::ranges::fill(receive, std::byte{0xee});
    RETURN_IF_ERROR(world.AllToAll(send.data(), sends, receive.data(), receives, "exchange"));
    RETURN_IF_ERROR(Expect(receive, expected, "exchange"));
  }
  return {};
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

  RETURN_IF_ERROR(CheckExchange(world));

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

Status Break(Communicator& world, std::string_view how) {
  RETURN_IF_ERROR(world.Barrier("last step"));
  if (world.rank() == world.size() - 1) {
    if (how.starts_with("work")) world.Works("export");
    if (how == "work") sleep(3);
    if (how.ends_with("kill")) kill(getpid(), SIGKILL);
    while (how != "work") pause();  // mpirun ends it when the others have failed
  }
  if (how != "split") return world.Barrier("gradients");
  const auto part = world.Split(0, world.rank());
  return part ? Status() : Status(tl::unexpected(part.error()));
}

volatile std::sig_atomic_t told_to_end = 0;

int Main(int argc, char** argv) {
  const bool breaks = argc > 2;
  std::signal(SIGTERM, [](int) { told_to_end = 1; });
  LaunchOptions options{.flight_dir = argv[1],
                        .told_to_end = [] { return told_to_end != 0; },
                        .message_bytes = 1000};  // small, so that parts are cut
  const std::string_view how = breaks ? argv[2] : "";
  if (breaks) options.limit = std::chrono::seconds(how == "work" ? 1 : how.ends_with("kill") ? 60 : 2);
  Result<std::unique_ptr<Communicator>> world = OpenWorld(options);
  Status status = world ? (breaks ? Break(**world, how) : CheckAll(**world))
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
