// The state folder: what must outlast the process and be read by no one else.
//
//   ca.crt ca.key          the internal CA (certificates.h)
//   server.crt server.key  the server's certificate
//   keys/NNNN.pem          keys that sign tokens (keys.h)
//   hadal.db               users, clients, tokens, quotas, audit (state_db.h)
#pragma once

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// Makes the folder (mode 0700) if it is not there. kFailedPrecondition if others may enter it and it is not
/// empty; an empty one is closed to them. kPermissionDenied if it belongs to someone else.
Status OpenStateFolder(const Path& folder);

/// Writes a file so that a crash leaves the old or the new one: mode 0600, or 0644 with `for_all`.
Status WriteStateFile(const Path& path, std::string_view text, bool for_all = false);

/// Reads a secret file. kFailedPrecondition if others may read it, kResourceExhausted beyond 64 KiB.
Result<std::string> ReadSecretFile(const Path& path);

/// Keeps other hadal processes out of a change to the folder while it lives; waits for its turn.
class StateLock {
 public:
  static Result<StateLock> Take(const Path& folder);
  StateLock(StateLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  StateLock& operator=(StateLock&&) = delete;
  ~StateLock();

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  int fd_;
};

/// Changes when the file or the folder's list of files does; all zero where there is none.
struct FileStamp {
  int64_t inode = 0, size = 0, mtime_ns = 0;
  bool regular = false;
  bool operator==(const FileStamp&) const = default;
};
FileStamp StampOf(const Path& path);
/// Whether the stamp is so fresh that a second change might leave it the same.
bool IsFresh(const FileStamp& stamp);

}  // namespace hadal
