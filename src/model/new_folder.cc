#include "model/new_folder.h"

#include <unistd.h>

#include <atomic>
#include <system_error>
#include <utility>

namespace hadal {
namespace {

/// kFailedPrecondition unless nothing or an empty folder is at `path`.
Status CheckFree(const Path& path) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return {};
  if (status.type() != std::filesystem::file_type::directory)
    return FailedPrecondition("{} is there and no folder; choose another name", path.string());
  const bool empty = std::filesystem::is_empty(path, error);
  if (error) return PermissionDenied("cannot look into {}: {}", path.string(), error.message());
  if (!empty)
    return FailedPrecondition("{} is not empty; choose a new folder, nothing is overwritten", path.string());
  return {};
}

}  // namespace

Result<Path> RealFolderPath(const Path& path) {
  if (path.empty()) return InvalidArgument("the folder's name is empty");
  std::error_code error;
  Path real = std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  if (error) return InvalidArgument("cannot follow the path {}: {}", path.string(), error.message());
  if (!real.has_filename()) real = real.parent_path();  // "folder/"
  return real;
}

Result<NewFolder> NewFolder::Create(const Path& path) {
  static std::atomic<unsigned> serial{0};
  ASSIGN_OR_RETURN(const Path real, RealFolderPath(path));
  RETURN_IF_ERROR(CheckFree(real));
  std::error_code error;
  if (!std::filesystem::is_directory(real.parent_path(), error))
    return NotFound("{} cannot be made: there is no folder {}", path.string(), real.parent_path().string());
  const Path temporary =
      real.parent_path() / fmt::format(".{}.tmp.{}.{}", real.filename().string(), getpid(), serial++);
  if (!std::filesystem::create_directory(temporary, error) || error)
    return MakeError(Code::kPermissionDenied, "cannot make the folder {}: {}", temporary.string(),
                     error ? error.message() : "it is there already");
  return NewFolder(real, temporary);
}

NewFolder::NewFolder(NewFolder&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, Path())) {}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
}

Status NewFolder::Commit() {
  RETURN_IF_ERROR(SyncFolder(temporary_));
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  if (error)
    return FailedPrecondition("cannot rename {} to {}: {}", temporary_.string(), path_.string(),
                              error.message());
  temporary_.clear();
  return SyncFolder(path_.parent_path());
}

}  // namespace hadal
