// A folder that appears under its name whole, or not at all.
#pragma once

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// The real path of a folder that need not be there: absolute, without links or "..".
Result<Path> RealFolderPath(const Path& path);

/// Filled under a temporary name beside its place (".NAME.tmp.PID.N") and renamed by Commit; without it the
/// destructor removes everything. A process that is killed leaves the temporary folder behind, never one
/// under the final name. Movable.
class NewFolder {
 public:
  /// kFailedPrecondition: there is a folder with something in it, or a file. kNotFound: the folder in which
  /// it would stand is missing.
  static Result<NewFolder> Create(const Path& path);
  NewFolder(NewFolder&& other) noexcept;
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder();

  /// Where to write.
  const Path& temporary() const { return temporary_; }

  /// Gives the folder its name and waits until the disk has it.
  Status Commit();

 private:
  NewFolder(Path path, Path temporary) : path_(std::move(path)), temporary_(std::move(temporary)) {}
  Path path_, temporary_;  // temporary_ is empty once committed or moved from
};

}  // namespace hadal
