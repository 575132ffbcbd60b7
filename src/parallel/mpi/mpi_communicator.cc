// Communicator over MPI (Open MPI 4.1): nonblocking calls, polled, so that a silent rank ends in an error.
#include <mpi.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "parallel/flight_recorder.h"
#include "parallel/launch.h"
#include "parallel/mpi/transport.h"
#include "parallel/patience.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;
// Messages sent and not yet taken by their receiver; a pipeline has fewer than its stages on their way.
constexpr size_t kMaxPending = 1024;
constexpr int kTag = 1;

/// What the communicators of one process share.
struct Process {
  LaunchOptions options;
  int world_rank = 0, world_size = 1;
  std::optional<FlightRecorder> recorder;

  ~Process() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized && !failed) MPI_Finalize();
  }
  // After a failure MPI_Finalize would wait for the ranks that are gone.
  bool failed = false;
  bool recorded = false;  // every rank has begun its record: none is of an earlier run
};

Status Check(int code, const char* what) {
  if (code == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return Unavailable("{}: MPI: {}", what, std::string(text, static_cast<size_t>(length)));
}

/// Counts and displacements of MPI are ints.
Status CheckLength(int64_t bytes, const char* what) {
  if (bytes <= INT_MAX) return {};
  return Unsupported("{}: {} bytes in one message, at most {}", what, bytes, INT_MAX);
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(std::shared_ptr<Process> process, MPI_Comm comm) : process_(std::move(process)), comm_(comm) {
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~MpiCommunicator() override {
    if (!process_->failed)
      for (Pending& pending : pending_) MPI_Wait(&pending.request, MPI_STATUS_IGNORE);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Status AllGather(std::span<const std::byte> mine, std::span<std::byte> all, const char* what) override {
    HADAL_CHECK(all.size() == mine.size() * static_cast<size_t>(size_), "{}: {} into {}", what, mine.size(), all.size());
    // `mine` may lie in its place inside `all`: MPI calls that "in place".
    const bool in_place = mine.data() == all.data() + static_cast<size_t>(rank_) * mine.size();
    if (size_ == 1) {
      if (!in_place) std::ranges::copy(mine, all.begin());
      return {};
    }
    for (size_t first = 0; first < mine.size(); first += process_->options.message_bytes) {
      const size_t count = std::min(process_->options.message_bytes, mine.size() - first);
      RETURN_IF_ERROR(GatherStretch(mine.subspan(first, count), in_place, all.data() + first,
                                    static_cast<MPI_Aint>(mine.size()), what));
    }
    return {};
  }

  Status AllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t> receive_bytes, const char* what) override {
    RETURN_IF_ERROR(Place(send_bytes, send_counts_, send_places_, what));
    RETURN_IF_ERROR(Place(receive_bytes, receive_counts_, receive_places_, what));
    return Run(what, [&](MPI_Request* request) {
      return MPI_Ialltoallv(send, send_counts_.data(), send_places_.data(), MPI_BYTE, receive, receive_counts_.data(),
                            receive_places_.data(), MPI_BYTE, comm_, request);
    });
  }

  Status Send(int to, std::span<const std::byte> bytes, const char* what) override {
    RETURN_IF_ERROR(CheckLength(static_cast<int64_t>(bytes.size()), what));
    RETURN_IF_ERROR(Reap(what));
    Pending& pending = pending_.emplace_back();
    pending.bytes.assign(bytes.begin(), bytes.end());
    return Check(MPI_Isend(pending.bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, to, kTag, comm_,
                           &pending.request), what);
  }

  Status Receive(int from, std::span<std::byte> bytes, const char* what) override {
    RETURN_IF_ERROR(CheckLength(static_cast<int64_t>(bytes.size()), what));
    return Run(what, [&](MPI_Request* request) {
      return MPI_Irecv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, from, kTag, comm_, request);
    });
  }

  Status Barrier(const char* what) override {
    return Run(what, [&](MPI_Request* request) { return MPI_Ibarrier(comm_, request); });
  }

  void Works(const char* what) override {
    if (process_->recorder) process_->recorder->Work(what);
  }
  void Worked() override {
    if (process_->recorder) process_->recorder->Leave();
  }

  Result<std::unique_ptr<Communicator>> Split(int color, int key) override {
    // The split itself cannot give up, so ranks that do not come are waited for here.
    RETURN_IF_ERROR(Barrier("split"));
    MPI_Comm part = MPI_COMM_NULL;
    RETURN_IF_ERROR(Check(MPI_Comm_split(comm_, color, key, &part), "split"));
    RETURN_IF_ERROR(Check(MPI_Comm_set_errhandler(part, MPI_ERRORS_RETURN), "split"));
    return std::make_unique<MpiCommunicator>(process_, part);
  }

 private:
  struct Pending {
    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  /// A stretch of every rank's part, which lie `stride` bytes apart in `to` (a type of that extent, since counts and
  /// displacements are ints).
  Status GatherStretch(std::span<const std::byte> from, bool in_place, std::byte* to, MPI_Aint stride, const char* what) {
    const int count = static_cast<int>(from.size());
    MPI_Datatype bytes = MPI_DATATYPE_NULL, part = MPI_DATATYPE_NULL;
    RETURN_IF_ERROR(Check(MPI_Type_contiguous(count, MPI_BYTE, &bytes), what));
    Status status = Check(MPI_Type_create_resized(bytes, 0, stride, &part), what);
    if (status) status = Check(MPI_Type_commit(&part), what);
    if (status)
      status = Run(what, [&](MPI_Request* request) {
        return MPI_Iallgather(in_place ? MPI_IN_PLACE : from.data(), count, MPI_BYTE, to, 1, part, comm_, request);
      });
    if (part != MPI_DATATYPE_NULL) MPI_Type_free(&part);
    MPI_Type_free(&bytes);
    return status;
  }

  template <typename Start>
  Status Run(const char* what, Start start) {
    if (process_->recorder) process_->recorder->Enter(what);
    MPI_Request request = MPI_REQUEST_NULL;
    RETURN_IF_ERROR(Check(start(&request), what));
    RETURN_IF_ERROR(Await(request, what));
    if (process_->recorder) process_->recorder->Leave();
    return {};
  }

  /// Polls: MPI makes progress only inside its calls, and a call that blocks could not give up.
  Status Await(MPI_Request& request, const char* what) {
    Patience patience(process_->options, process_->world_rank, process_->world_size, process_->recorded, Clock::now());
    for (int64_t polls = 0;; ++polls) {
      int done = 0;
      RETURN_IF_ERROR(Check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what));
      if (done) return {};
      if (polls < 64) continue;
      // More ranks than cores: let the others run, then sleep in short naps.
      if (polls < 2048) sched_yield();
      else usleep(50);
      if (polls % 64 != 0) continue;
      if (const std::optional<std::string> why = patience.Exhausted(Clock::now())) return Fail(*why, what);
    }
  }

  Status Fail(const std::string& how, const char* what) {
    process_->failed = true;
    if (process_->recorder) process_->recorder->GiveUp();
    std::string missing;
    if (!process_->options.flight_dir.empty())
      missing = FlightRecorder::DescribeMissing(process_->options.flight_dir, process_->world_size, process_->world_rank);
    return Unavailable("rank {} {} in '{}'{}", process_->world_rank, how, what, missing);
  }

  /// Frees the buffers of messages that have left; waits for the oldest where too many have not.
  Status Reap(const char* what) {
    while (!pending_.empty()) {
      int done = 0;
      RETURN_IF_ERROR(Check(MPI_Test(&pending_.front().request, &done, MPI_STATUS_IGNORE), what));
      if (!done && pending_.size() < kMaxPending) return {};
      if (!done) RETURN_IF_ERROR(Await(pending_.front().request, what));
      pending_.pop_front();
    }
    return {};
  }

  Status Place(std::span<const int64_t> bytes, std::vector<int>& counts, std::vector<int>& places, const char* what) {
    counts.resize(bytes.size());
    places.resize(bytes.size());
    int64_t place = 0;
    for (size_t r = 0; r < bytes.size(); ++r) {
      RETURN_IF_ERROR(CheckLength(place + bytes[r], what));
      counts[r] = static_cast<int>(bytes[r]);
      places[r] = static_cast<int>(place);
      place += bytes[r];
    }
    return {};
  }

  const std::shared_ptr<Process> process_;
  const MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
  std::deque<Pending> pending_;
  std::vector<int> send_counts_, send_places_, receive_counts_, receive_places_;
};

Result<std::unique_ptr<Communicator>> Open(const LaunchOptions& options) {
  int started = 0;
  MPI_Initialized(&started);
  if (started) return FailedPrecondition("MPI was started before; one world a process");
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
    return FailedPrecondition("MPI did not start; were the ranks started by an mpirun of the same MPI?");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  auto process = std::make_shared<Process>();
  process->options = options;
  MPI_Comm_rank(MPI_COMM_WORLD, &process->world_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &process->world_size);
  if (!options.flight_dir.empty()) {
    Result<FlightRecorder> recorder = FlightRecorder::Create(options.flight_dir, process->world_rank);
    if (!recorder) {
      process->failed = true;  // others may be waiting already: to end in order would wait for them
      return tl::unexpected(recorder.error());
    }
    process->recorder.emplace(*std::move(recorder));
  }
  auto world = std::make_unique<MpiCommunicator>(process, MPI_COMM_WORLD);
  RETURN_IF_ERROR(world->Barrier("start of the ranks"));
  process->recorded = true;
  return world;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void hadal_open_mpi_world(const LaunchOptions& options,
                                                                            Result<std::unique_ptr<Communicator>>& world) {
  world = Open(options);
}

}  // namespace hadal
