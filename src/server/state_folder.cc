#include "server/state_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

#include "server/secrets.h"

namespace hadal {
namespace {

constexpr mode_t kOthers = 077;
constexpr size_t kMaxSecretFileBytes = 64 << 10;
constexpr int64_t kFreshNs = 100'000'000;  // several ticks of the clock that file systems stamp with

tl::unexpected<Error> ErrnoError(const char* doing, const Path& path) {
  const int error = errno;
  const Code code = error == EACCES || error == EPERM || error == EROFS ? Code::kPermissionDenied
                    : error == ENOSPC || error == EDQUOT                ? Code::kResourceExhausted
                    : error == ENOENT                                   ? Code::kNotFound
                                                                        : Code::kUnavailable;
  return MakeError(code, "cannot {} {}: {}", doing, path.string(), std::strerror(error));
}

Status WriteAll(int fd, std::string_view text, const Path& path) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoError("write", path);
    text.remove_prefix(static_cast<size_t>(put));
  }
  if (fsync(fd) != 0) return ErrnoError("fsync", path);
  return {};
}

}  // namespace

Status OpenStateFolder(const Path& folder) {
  std::error_code error;
  if (folder.has_parent_path()) std::filesystem::create_directories(folder.parent_path(), error);
  if (mkdir(folder.c_str(), 0700) == 0)
    return SyncFolder(folder.has_parent_path() ? folder.parent_path() : Path("."));
  if (errno != EEXIST) return ErrnoError("make the state folder", folder);
  struct stat info;
  if (stat(folder.c_str(), &info) != 0) return ErrnoError("look at the state folder", folder);
  if (!S_ISDIR(info.st_mode)) return FailedPrecondition("{} is not a folder", folder.string());
  if (info.st_uid != geteuid())
    return PermissionDenied("the state folder {} belongs to another user; run as that user", folder.string());
  if ((info.st_mode & kOthers) == 0) return {};
  if (std::filesystem::is_empty(folder, error) && !error) {
    if (chmod(folder.c_str(), 0700) != 0) return ErrnoError("close to others", folder);
    return {};
  }
  return FailedPrecondition("others may enter the state folder {} (mode {:o}); it must be 700: chmod 700 {}",
                            folder.string(), info.st_mode & 07777, folder.string());
}

Status WriteStateFile(const Path& path, std::string_view text, bool for_all) {
  Path temp = path;
  temp += fmt::format(".tmp.{}.{}", getpid(), RandomHex(4));
  const int fd = open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoError("create", temp);
  Status status = WriteAll(fd, text, temp);
  if (status && for_all && fchmod(fd, 0644) != 0) status = ErrnoError("open to all", temp);
  close(fd);
  if (status && rename(temp.c_str(), path.c_str()) != 0) status = ErrnoError("rename to", path);
  if (!status) {
    unlink(temp.c_str());
    return status;
  }
  return SyncFolder(path.has_parent_path() ? path.parent_path() : Path("."));
}

Result<std::string> ReadSecretFile(const Path& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoError("open", path);
  if (!S_ISREG(info.st_mode)) return FailedPrecondition("{} is not a regular file", path.string());
  if ((info.st_mode & kOthers) != 0)
    return FailedPrecondition("others may read {} (mode {:o}); it must be 600: chmod 600 {}", path.string(),
                              info.st_mode & 07777, path.string());
  return ReadFile(path, kMaxSecretFileBytes);
}

Result<StateLock> StateLock::Take(const Path& folder) {
  const Path path = folder / "lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoError("open", path);
  while (flock(fd, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    const auto error = ErrnoError("lock", path);
    close(fd);
    return error;
  }
  return StateLock(fd);
}

StateLock::~StateLock() {
  if (fd_ >= 0) close(fd_);
}

FileStamp StampOf(const Path& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return {};
  return {static_cast<int64_t>(info.st_ino), info.st_size,
          int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec, S_ISREG(info.st_mode)};
}

bool IsFresh(const FileStamp& stamp) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t now_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  return now_ns - stamp.mtime_ns < kFreshNs && stamp.mtime_ns <= now_ns;
}

}  // namespace hadal
