// Communicator over MPI (Open MPI 4.1): nonblocking calls, polled, so that a silent rank ends in an error.
#include <mpi.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
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
constexpr int kTag = 1, kRestTag = 2;

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

/// Where each rank's part lies in a buffer, as MPI_Ialltoallw wants it: of each the first `most` bytes. Counts and
/// displacements of MPI are ints; a part that lies further than `most` has a type of its own that holds its place.
class PartTypes {
 public:
  ~PartTypes() { Clear(); }
  Status Set(std::span<const int64_t> bytes, int64_t most, const char* what) {
    Clear();
    int64_t place = 0;
    for (const int64_t all : bytes) {
      const int count = static_cast<int>(std::min(all, most));
      const bool near = place + count <= most;
      counts_.push_back(near || count == 0 ? count : 1);
      places_.push_back(near ? static_cast<int>(place) : 0);
      types_.push_back(MPI_BYTE);
      if (!near && count > 0) {
        const MPI_Aint at = static_cast<MPI_Aint>(place);
        MPI_Datatype type = MPI_DATATYPE_NULL;
        RETURN_IF_ERROR(Check(MPI_Type_create_hindexed_block(1, count, &at, MPI_BYTE, &type), what));
        types_.back() = type;
        RETURN_IF_ERROR(Check(MPI_Type_commit(&types_.back()), what));
      }
      place += all;
    }
    return {};
  }
  const int* counts() const { return counts_.data(); }
  const int* places() const { return places_.data(); }
  const MPI_Datatype* types() const { return types_.data(); }

 private:
  void Clear() {
    for (MPI_Datatype& type : types_)
      if (type != MPI_BYTE) MPI_Type_free(&type);
    counts_.clear();
    places_.clear();
    types_.clear();
  }
  std::vector<int> counts_, places_;
  std::vector<MPI_Datatype> types_;
};

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
    // What every pair's first message takes goes in one collective, whatever the ranks' own sizes are; the rest of long
    // parts, of which both ends of a pair know, in messages between the two.
    const auto most = static_cast<int64_t>(process_->options.message_bytes);
    RETURN_IF_ERROR(send_types_.Set(send_bytes, most, what));
    RETURN_IF_ERROR(receive_types_.Set(receive_bytes, most, what));
    RETURN_IF_ERROR(Run(what, [&](MPI_Request* request) {
      return MPI_Ialltoallw(send, send_types_.counts(), send_types_.places(), send_types_.types(), receive,
                            receive_types_.counts(), receive_types_.places(), receive_types_.types(), comm_, request);
    }));
    return ExchangeRest(send, send_bytes, receive, receive_bytes, what);
  }

  Status Send(int to, std::span<const std::byte> bytes, const char* what) override {
    do {
      const auto part = bytes.first(std::min(bytes.size(), process_->options.message_bytes));
      bytes = bytes.subspan(part.size());
      RETURN_IF_ERROR(Reap(what));
      Pending& pending = pending_.emplace_back();
      pending.bytes.assign(part.begin(), part.end());
      RETURN_IF_ERROR(Check(MPI_Isend(pending.bytes.data(), static_cast<int>(part.size()), MPI_BYTE, to, kTag, comm_,
                                      &pending.request), what));
    } while (!bytes.empty());
    return {};
  }

  Status Receive(int from, std::span<std::byte> bytes, const char* what) override {
    do {
      const auto part = bytes.first(std::min(bytes.size(), process_->options.message_bytes));
      bytes = bytes.subspan(part.size());
      RETURN_IF_ERROR(Run(what, [&](MPI_Request* request) {
        return MPI_Irecv(part.data(), static_cast<int>(part.size()), MPI_BYTE, from, kTag, comm_, request);
      }));
    } while (!bytes.empty());
    return {};
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

  /// Of every part what lies beyond its first message.
  Status ExchangeRest(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                      std::span<const int64_t> receive_bytes, const char* what) {
    const auto most = static_cast<int64_t>(process_->options.message_bytes);
    if (std::max(std::ranges::max(send_bytes), std::ranges::max(receive_bytes)) <= most) return {};
    if (process_->recorder) process_->recorder->Enter(what);
    rest_.clear();
    const auto each = [&](auto* at, std::span<const int64_t> all, auto start) -> Status {
      for (int r = 0; r < size_; at += all[r], ++r)
        for (int64_t first = most; r != rank_ && first < all[r]; first += most)
          RETURN_IF_ERROR(Check(start(at + first, static_cast<int>(std::min(most, all[r] - first)), r,
                                      &rest_.emplace_back(MPI_REQUEST_NULL)), what));
      return {};
    };
    RETURN_IF_ERROR(each(receive, receive_bytes, [&](std::byte* at, int count, int r, MPI_Request* request) {
      return MPI_Irecv(at, count, MPI_BYTE, r, kRestTag, comm_, request);
    }));
    RETURN_IF_ERROR(each(send, send_bytes, [&](const std::byte* at, int count, int r, MPI_Request* request) {
      return MPI_Isend(at, count, MPI_BYTE, r, kRestTag, comm_, request);
    }));
    if (send_bytes[rank_] > most)
      std::memcpy(receive + std::accumulate(receive_bytes.begin(), receive_bytes.begin() + rank_, most),
                  send + std::accumulate(send_bytes.begin(), send_bytes.begin() + rank_, most),
                  static_cast<size_t>(send_bytes[rank_] - most));
    for (MPI_Request& request : rest_) RETURN_IF_ERROR(Await(request, what));
    if (process_->recorder) process_->recorder->Leave();
    return {};
  }

  const std::shared_ptr<Process> process_;
  const MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
  std::deque<Pending> pending_;
  PartTypes send_types_, receive_types_;
  std::vector<MPI_Request> rest_;
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
