#include "parallel/flight_recorder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace hadal {

struct FlightRecorder::Record {
  static constexpr uint64_t kMagic = 0x32746867696c6668;  // "hflight2"
  uint64_t magic;
  int64_t rank, pid, pid_namespace;
  char host[64];
  char operation[96];
  std::atomic<int64_t> number, state, unix_milliseconds;
};

namespace {

int64_t NowMilliseconds() {
  using std::chrono::duration_cast, std::chrono::milliseconds;
  return duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string HostName() {
  char name[64] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "?";
}

/// Process ids mean the same to those who share it; 0: unknown.
int64_t PidNamespace() {
  struct stat info = {};
  return stat("/proc/self/ns/pid", &info) == 0 ? static_cast<int64_t>(info.st_ino) : 0;
}

/// Whether the process of a record is known to have ended: one of this machine and of the same process ids.
bool Gone(const FlightRecorder::Entry& other, const FlightRecorder::Entry& own) {
  const bool here = other.host == own.host && other.pid_namespace == own.pid_namespace;
  return here && kill(static_cast<pid_t>(other.pid), 0) != 0 && errno == ESRCH;
}

Path FileOf(const Path& dir, int rank) { return dir / fmt::format("rank-{}.flight", rank); }

}  // namespace

Result<FlightRecorder> FlightRecorder::Create(const Path& dir, int rank) {
  const Path path = FileOf(dir, rank);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return FailedPrecondition("{}: {}", path.string(), std::strerror(errno));
  void* memory = MAP_FAILED;
  // Space is taken now: a store to a page that the disk has no room for would end the process.
  const int full = posix_fallocate(fd, 0, sizeof(Record));
  if (full == 0) memory = mmap(nullptr, sizeof(Record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int reason = full != 0 ? full : errno;
  close(fd);
  if (memory == MAP_FAILED)
    return ResourceExhausted("{}: no room for {} bytes: {}", path.string(), sizeof(Record), std::strerror(reason));

  FlightRecorder recorder;
  recorder.record_ = static_cast<Record*>(memory);
  std::memset(memory, 0, sizeof(Record));
  recorder.record_->rank = rank;
  recorder.record_->pid = getpid();
  recorder.record_->pid_namespace = PidNamespace();
  std::strncpy(recorder.record_->host, HostName().c_str(), sizeof recorder.record_->host - 1);
  recorder.record_->unix_milliseconds = NowMilliseconds();
  recorder.record_->magic = Record::kMagic;
  return recorder;
}

FlightRecorder::FlightRecorder(FlightRecorder&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}

FlightRecorder::~FlightRecorder() {
  if (record_) munmap(record_, sizeof(Record));
}

void FlightRecorder::Set(State state) {
  record_->state.store(static_cast<int64_t>(state), std::memory_order_relaxed);
  record_->unix_milliseconds.store(NowMilliseconds(), std::memory_order_relaxed);
}

void FlightRecorder::Enter(const char* operation) {
  std::strncpy(record_->operation, operation, sizeof record_->operation - 1);
  record_->number.fetch_add(1, std::memory_order_relaxed);
  Set(State::kInside);
}

void FlightRecorder::Leave() { Set(State::kOutside); }
void FlightRecorder::GiveUp() { Set(State::kGaveUp); }

void FlightRecorder::Work(const char* what) {
  std::strncpy(record_->operation, what, sizeof record_->operation - 1);
  Set(State::kWorks);
  // A page of a network's file system may stay here for half a minute otherwise; this is rare enough to send it.
  msync(record_, sizeof(Record), MS_SYNC);
}

std::optional<FlightRecorder::Entry> FlightRecorder::Read(const Path& dir, int rank) {
  const Result<std::string> bytes = ReadFile(FileOf(dir, rank), sizeof(Record));
  if (!bytes || bytes->size() != sizeof(Record)) return std::nullopt;
  alignas(Record) char copy[sizeof(Record)];
  std::memcpy(copy, bytes->data(), sizeof copy);
  const Record* record = reinterpret_cast<const Record*>(copy);
  if (record->magic != Record::kMagic || record->rank != rank) return std::nullopt;
  const auto text = [](const char* field, size_t size) { return std::string(field, strnlen(field, size)); };
  return Entry{.rank = rank,
               .host = text(record->host, sizeof record->host),
               .pid = record->pid,
               .pid_namespace = record->pid_namespace,
               .operation = text(record->operation, sizeof record->operation),
               .number = record->number.load(),
               .state = static_cast<State>(record->state.load()),
               .unix_milliseconds = record->unix_milliseconds.load()};
}

std::string FlightRecorder::DescribeMissing(const Path& dir, int ranks, int asking) {
  const std::optional<Entry> own = Read(dir, asking);
  if (!own) return {};
  std::string text;
  for (int r = 0; r < ranks; ++r) {
    if (r == asking) continue;
    const std::optional<Entry> other = Read(dir, r);
    if (!other) {
      text += fmt::format("; rank {} left no record in {}", r, dir.string());
      continue;
    }
    const bool dead = Gone(*other, *own);
    // One that waits, or did, for another rank is a victim itself.
    if (other->state == State::kGaveUp || (!dead && other->state == State::kInside)) continue;
    const char* does = dead ? "is gone" : other->state == State::kWorks ? "does work of its own" : "computes or hangs";
    const double ago = static_cast<double>(NowMilliseconds() - other->unix_milliseconds) / 1e3;
    text += fmt::format("; rank {} (host {}, process {}) {}: its last operation was '{}' (number {}), {:.1f} s ago", r,
                        other->host, other->pid, does,
                        other->operation.empty() ? "none" : other->operation, other->number, ago);
  }
  return text;
}

FlightRecorder::Others FlightRecorder::Look(const Path& dir, int ranks, int asking) {
  Others found;
  const std::optional<Entry> own = Read(dir, asking);
  for (int r = 0; own && r < ranks; ++r) {
    if (r == asking) continue;
    const std::optional<Entry> other = Read(dir, r);
    if (!other) continue;
    if (Gone(*other, *own)) found.gone = true;
    else if (other->state == State::kWorks) found.works = true;
  }
  return found;
}

}  // namespace hadal
