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

/// What a file or flag said may hold anything: control characters would reach the terminal, and pages of it would
/// bury the sentence.
std::string Presentable(std::string_view text) {
  constexpr size_t kMost = 2000;
  std::string shown;
  for (const char c : text.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      shown += fmt::format("\\x{:02x}", byte);
    else
      shown += c;
  }
  if (text.size() > kMost) shown += "…";
  return shown;
}

void PrintError(std::string_view sentence) {
  std::fflush(stdout);
  std::fputs(fmt::format("hadal: {}\n", Presentable(sentence)).c_str(), stderr);
}

void PrintNote(std::string_view line) { std::fputs(fmt::format("{}\n", Presentable(line)).c_str(), stderr); }

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
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    return FailedPrecondition("cannot write {}: it is there already and no regular file", path.string());
  const Path folder = path.has_parent_path() ? path.parent_path() : Path(".");
  if (!std::filesystem::is_directory(folder, ignored))
    return NotFound("cannot write {}: there is no folder {}", path.string(), folder.string());
  if (access(folder.c_str(), W_OK) != 0)
    return PermissionDenied("cannot write into {}: {}", folder.string(), std::strerror(errno));
  return {};
}

}  // namespace hadal
