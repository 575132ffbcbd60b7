#include "server/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/cpu_info.h"

namespace hadal {
namespace {

std::string ReadProc(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Unix time at which the machine started: "btime N" of /proc/stat.
double BootSeconds() {
  std::ifstream file("/proc/stat");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with("btime ")) return std::strtod(line.c_str() + 6, nullptr);
  return 0;
}

int64_t CountFds() {
  std::error_code error;
  std::filesystem::directory_iterator entry("/proc/self/fd", error);
  int64_t count = -1;  // the folder itself is open while it is read
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) ++count;
  return std::max<int64_t>(count, 0);
}

}  // namespace

Result<ProcStat> ParseProcStat(std::string_view text) {
  const size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) return DataLoss("/proc/self/stat has no program name");
  std::istringstream fields{std::string(text.substr(name_end + 1))};
  ProcStat stat;
  std::string field;
  // Numbered as proc(5) does; the name was field 2.
  for (int i = 3; i <= 24; ++i) {
    if (!(fields >> field)) return DataLoss("/proc/self/stat ends before field {}, expected 24 or more", i);
    const int64_t value = std::strtoll(field.c_str(), nullptr, 10);
    const uint64_t unsigned_value = std::strtoull(field.c_str(), nullptr, 10);
    if (i == 14) stat.user_ticks = unsigned_value;
    if (i == 15) stat.system_ticks = unsigned_value;
    if (i == 20) stat.threads = value;
    if (i == 22) stat.start_ticks = unsigned_value;
    if (i == 23) stat.virtual_bytes = unsigned_value;
    if (i == 24) stat.resident_pages = value;
  }
  return stat;
}

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  if (const auto stat = ParseProcStat(ReadProc("/proc/self/stat"))) {
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    stats.cpu_seconds = static_cast<double>(stat->user_ticks + stat->system_ticks) / ticks;
    stats.start_seconds = BootSeconds() + static_cast<double>(stat->start_ticks) / ticks;
    stats.virtual_bytes = stat->virtual_bytes;
    stats.resident_bytes = static_cast<uint64_t>(stat->resident_pages) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    stats.threads = stat->threads;
  }
  stats.anonymous_bytes = AnonymousResidentBytes();
  stats.open_fds = CountFds();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = static_cast<int64_t>(limit.rlim_cur);
  return stats;
}

}  // namespace hadal
