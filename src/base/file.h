// Files: read whole, mapped, and written so that a crash leaves the old file or the new one, never a mixture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hadal {

using Path = std::filesystem::path;

/// What may be read: a pipe blocks until somebody writes, so files of a model must be regular ones.
enum class FileKind { kRegular, kAny };

/// The whole file as a string; kResourceExhausted if it is larger than `max_bytes`.
Result<std::string> ReadFile(const Path& path, size_t max_bytes = size_t{256} << 20,
                             FileKind kind = FileKind::kRegular);

/// A read-only mapping of a whole file. Movable; the bytes live as long as the object.
/// If another process truncates the file, reading beyond its end raises SIGBUS: StillSame tells before and after.
class MappedFile {
 public:
  static Result<MappedFile> Open(const Path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const Path& path() const { return path_; }

  /// kDataLoss if the file's size or modification time is not what it was at Open.
  Status StillSame() const;
  /// Tells the kernel that [offset, offset+length) will be read soon / is not needed again.
  void WillNeed(size_t offset, size_t length) const;
  void DontNeed(size_t offset, size_t length) const;

 private:
  MappedFile() = default;
  Path path_;
  int fd_ = -1;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int64_t mtime_ns_ = 0;
};

/// Writes a file beside its final place and gives it its name only in Commit: temp, fsync, rename, fsync of the
/// folder. Without Commit the destructor removes the temporary file. Errors carry errno's text and the path.
/// Where `path` is a symbolic link, the file it points to is replaced; what is neither a regular file nor absent (a
/// device, a pipe) is refused.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const Path& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) = delete;
  ~AtomicFile();

  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) { return Write(std::as_bytes(std::span(text.data(), text.size()))); }
  Status Commit();

 private:
  AtomicFile() = default;
  Path path_, temp_;
  int fd_ = -1;
};

Status WriteFileAtomic(const Path& path, std::string_view text);

/// fsync of a folder, so that a rename in it lasts.
Status SyncFolder(const Path& folder);

/// Bytes free for an unprivileged writer on the file system that holds `path`.
Result<uint64_t> FreeDiskBytes(const Path& path);

}  // namespace hadal
