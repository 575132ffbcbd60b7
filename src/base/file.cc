#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace hadal {
namespace {

tl::unexpected<Error> ErrnoError(const char* doing, const Path& path) {
  const int error = errno;
  Code code = Code::kUnavailable;
  if (error == ENOENT || error == ENOTDIR) code = Code::kNotFound;
  if (error == EACCES || error == EPERM || error == EROFS) code = Code::kPermissionDenied;
  if (error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE) code = Code::kResourceExhausted;
  return MakeError(code, "cannot {} {}: {}", doing, path.string(), std::strerror(error));
}

int64_t MtimeNs(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

}  // namespace

Result<std::string> ReadFile(const Path& path, size_t max_bytes, FileKind kind) {
  const int no_wait = kind == FileKind::kRegular ? O_NONBLOCK : 0;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | no_wait);
  if (fd < 0) return ErrnoError("open", path);
  struct stat info;
  if (kind == FileKind::kRegular && fstat(fd, &info) == 0 && !S_ISREG(info.st_mode)) {
    close(fd);
    return InvalidArgument("{} is not a regular file", path.string());
  }
  std::string text;
  Status status;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) status = ErrnoError("read", path);
    if (got <= 0) break;
    if (text.size() + static_cast<size_t>(got) > max_bytes) {
      status = ResourceExhausted("{} is larger than the {} bytes that are read of such a file", path.string(),
                                 max_bytes);
      break;
    }
    text.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  if (!status) return tl::unexpected(status.error());
  return text;
}

Result<MappedFile> MappedFile::Open(const Path& path) {
  MappedFile file;
  file.path_ = path;
  file.fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd_ < 0) return ErrnoError("open", path);
  struct stat info;
  if (fstat(file.fd_, &info) != 0) return ErrnoError("stat", path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("{} is not a regular file", path.string());
  file.size_ = static_cast<size_t>(info.st_size);
  file.mtime_ns_ = MtimeNs(info);
  if (file.size_ > 0) {
    void* data = mmap(nullptr, file.size_, PROT_READ, MAP_SHARED, file.fd_, 0);
    if (data == MAP_FAILED) return ErrnoError("map", path);
    file.data_ = static_cast<const std::byte*>(data);
  }
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mtime_ns_, other.mtime_ns_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<std::byte*>(data_), size_);
  if (fd_ >= 0) close(fd_);
}

Status MappedFile::StillSame() const {
  struct stat info;
  if (fstat(fd_, &info) != 0) return ErrnoError("stat", path_);
  if (static_cast<size_t>(info.st_size) != size_ || MtimeNs(info) != mtime_ns_)
    return DataLoss("{} changed while it was read ({} bytes at first, {} now); load it again when it is at rest",
                    path_.string(), size_, info.st_size);
  return {};
}

namespace {
void Advise(const std::byte* data, size_t size, size_t offset, size_t length, int advice) {
  if (!data || offset >= size) return;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;
  const size_t end = std::min(size, offset + length);
  madvise(const_cast<std::byte*>(data) + begin, end - begin, advice);
}
}  // namespace

void MappedFile::WillNeed(size_t offset, size_t length) const {
  Advise(data_, size_, offset, length, MADV_WILLNEED);
}

void MappedFile::DontNeed(size_t offset, size_t length) const {
  Advise(data_, size_, offset, length, MADV_DONTNEED);
}

Result<AtomicFile> AtomicFile::Create(const Path& path) {
  static std::atomic<unsigned> serial{0};
  AtomicFile file;
  std::error_code ignored;
  file.path_ = std::filesystem::is_symlink(path, ignored) ? std::filesystem::weakly_canonical(path, ignored) : path;
  const auto status = std::filesystem::status(file.path_, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return InvalidArgument("cannot write {}: it is there already and no regular file", path.string());
  file.temp_ = file.path_;
  file.temp_ += fmt::format(".tmp.{}.{}", getpid(), serial++);
  file.fd_ = open(file.temp_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file.fd_ < 0) return ErrnoError("create", file.temp_);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)), temp_(std::move(other.temp_)), fd_(std::exchange(other.fd_, -1)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temp_.c_str());
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoError("write", temp_);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Status AtomicFile::Commit() {
  if (fsync(fd_) != 0) return ErrnoError("fsync", temp_);
  if (rename(temp_.c_str(), path_.c_str()) != 0) return ErrnoError("rename to", path_);
  close(std::exchange(fd_, -1));
  return SyncFolder(path_.has_parent_path() ? path_.parent_path() : Path("."));
}

Status WriteFileAtomic(const Path& path, std::string_view text) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(text));
  return file.Commit();
}

Status SyncFolder(const Path& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoError("open", folder);
  const int result = fsync(fd);
  Status status;
  if (result != 0) status = ErrnoError("fsync", folder);
  close(fd);
  return status;
}

Result<uint64_t> FreeDiskBytes(const Path& path) {
  struct statvfs info;
  if (statvfs(path.c_str(), &info) != 0) return ErrnoError("ask for the free space of", path);
  return uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace hadal
