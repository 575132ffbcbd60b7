// What each rank does now, in a small file of its own: read by the others when one of them is silent or dead.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// One rank's record. The file is mapped: an entry costs a few stores, and what was written is there after SIGKILL.
class FlightRecorder {
 public:
  enum class State {
    kOutside,  // of any operation: it computes, or hangs
    kInside,   // its operation has not returned
    kGaveUp,   // it waited in it for somebody else, and failed
    kWorks,    // it does long work of its own that it announced
  };
  struct Entry {
    int rank = 0;
    std::string host;
    int64_t pid = 0, pid_namespace = 0;
    std::string operation;       // the last one entered
    int64_t number = 0;          // how many were entered
    State state = State::kOutside;
    int64_t unix_milliseconds = 0;  // when the state began
  };

  /// Makes dir/rank-R.flight anew. Errors are the file's.
  static Result<FlightRecorder> Create(const Path& dir, int rank);
  FlightRecorder(FlightRecorder&& other) noexcept;
  ~FlightRecorder();

  void Enter(const char* operation);
  void Leave();
  /// The operation failed for want of another rank.
  void GiveUp();
  /// Long work of this rank's own begins; Leave or the next Enter ends it. Other machines are to see it too.
  void Work(const char* what);

  /// The record of `rank` in `dir`; nothing if there is none or it makes no sense.
  static std::optional<Entry> Read(const Path& dir, int rank);
  /// Sentences on every rank of `ranks` that is in no operation, or whose process is gone: who, where, and the last
  /// operation. Not on those that gave up waiting themselves. Empty if there is none.
  static std::string DescribeMissing(const Path& dir, int ranks, int asking);
  /// What the others' records say to one that waits for them.
  struct Others {
    bool gone = false;   // a process of this machine has ended
    bool works = false;  // a rank does long work of its own, and lives as far as can be seen
  };
  static Others Look(const Path& dir, int ranks, int asking);

 private:
  struct Record;
  FlightRecorder() = default;
  void Set(State state);
  Record* record_ = nullptr;
};

}  // namespace hadal
