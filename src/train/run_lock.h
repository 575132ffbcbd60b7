// One run at a time in a run folder.
#pragma once

#include "base/file.h"

namespace hadal::train {

/// Holds the run folder for this process as long as it lives; the file "lock" in it stays, and says nothing by itself.
class RunLock {
 public:
  /// Makes the folder if need be. kFailedPrecondition: another run has it, or the folder cannot be written. File systems
  /// without locks give none, and no error.
  static Result<RunLock> Take(const Path& out);
  RunLock(RunLock&& other) noexcept;
  ~RunLock();

 private:
  explicit RunLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace hadal::train
