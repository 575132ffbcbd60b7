#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

namespace hadal {
namespace {

Status OutputError() {
  return ResourceExhausted("cannot write to standard output: {}", std::strerror(errno));
}

}  // namespace

Status Print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) return OutputError();
  return {};
}

Status FlushOutput() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return OutputError();
  return {};
}

void PrintError(std::string_view sentence) {
  std::fflush(stdout);
  fmt::print(stderr, "hadal: {}\n", sentence);
}

void PrintNote(std::string_view line) { fmt::print(stderr, "{}\n", line); }

std::string BytesText(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", value / 1e3);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", value / 1e6);
  return fmt::format("{:.2f} GB", value / 1e9);
}

Status CheckOutputFile(const Path& path) {
  if (path.empty()) return InvalidArgument("the output file's name is empty");
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return FailedPrecondition("cannot write {}: it is a folder; name a file in it", path.string());
  const Path folder = path.has_parent_path() ? path.parent_path() : Path(".");
  if (!std::filesystem::is_directory(folder, ignored))
    return NotFound("cannot write {}: there is no folder {}", path.string(), folder.string());
  if (access(folder.c_str(), W_OK) != 0)
    return PermissionDenied("cannot write into {}: {}", folder.string(), std::strerror(errno));
  return {};
}

}  // namespace hadal
