#include "parallel/flight_recorder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace hadal {

struct FlightRecorder::Record {
  static constexpr uint64_t kMagic = 0x31746867696c6668;  // "hflight1"
  uint64_t magic;
  int64_t rank, pid;
  char host[64];
  char operation[96];
  std::atomic<int64_t> number, inside, unix_milliseconds;
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
  std::strncpy(recorder.record_->host, HostName().c_str(), sizeof recorder.record_->host - 1);
  recorder.record_->unix_milliseconds = NowMilliseconds();
  recorder.record_->magic = Record::kMagic;
  return recorder;
}

FlightRecorder::FlightRecorder(FlightRecorder&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}

FlightRecorder::~FlightRecorder() {
  if (record_) munmap(record_, sizeof(Record));
}

void FlightRecorder::Enter(const char* operation) {
  std::strncpy(record_->operation, operation, sizeof record_->operation - 1);
  record_->number.fetch_add(1, std::memory_order_relaxed);
  record_->inside.store(1, std::memory_order_relaxed);
  record_->unix_milliseconds.store(NowMilliseconds(), std::memory_order_relaxed);
}

void FlightRecorder::Leave() {
  record_->inside.store(0, std::memory_order_relaxed);
  record_->unix_milliseconds.store(NowMilliseconds(), std::memory_order_relaxed);
}

void FlightRecorder::GiveUp() {
  record_->inside.store(2, std::memory_order_relaxed);
  record_->unix_milliseconds.store(NowMilliseconds(), std::memory_order_relaxed);
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
               .operation = text(record->operation, sizeof record->operation),
               .number = record->number.load(),
               .inside = record->inside.load() != 0,
               .gave_up = record->inside.load() == 2,
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
    if (other->gave_up) continue;  // a victim, as this one is
    const bool here = other->host == own->host;
    const bool dead = here && kill(static_cast<pid_t>(other->pid), 0) != 0 && errno == ESRCH;
    // A rank that waits for another one is a victim itself.
    if (!dead && other->inside) continue;
    const double ago = static_cast<double>(NowMilliseconds() - other->unix_milliseconds) / 1e3;
    text += fmt::format("; rank {} (host {}, process {}) {}: its last operation was '{}' (number {}), {:.1f} s ago", r,
                        other->host, other->pid, dead ? "is gone" : "computes or hangs",
                        other->operation.empty() ? "none" : other->operation, other->number, ago);
  }
  return text;
}

}  // namespace hadal
