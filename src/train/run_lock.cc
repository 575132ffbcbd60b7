#include "train/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace hadal::train {

Result<RunLock> RunLock::Take(const Path& out) {
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) return FailedPrecondition("cannot make {}: {}", out.string(), error.message());
  const Path path = out / "lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return FailedPrecondition("cannot write {}: {}", path.string(), std::strerror(errno));
  RunLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return FailedPrecondition("another run is writing to {}; wait for its end, or choose another folder", out.string());
  return lock;
}

RunLock::RunLock(RunLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

RunLock::~RunLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace hadal::train
