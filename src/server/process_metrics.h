// What the kernel says of this process, under the names that Prometheus' own client libraries use.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace hadal {

struct ProcessStats {
  double cpu_seconds = 0;  // user and system
  double start_seconds = 0;  // Unix time
  uint64_t virtual_bytes = 0, resident_bytes = 0;
  uint64_t anonymous_bytes = 0;  // of resident_bytes, what is not the cache of files
  int64_t threads = 0;
  int64_t open_fds = 0, max_fds = 0;
};

/// From /proc; what cannot be read is 0.
ProcessStats ReadProcessStats();

/// The fields of /proc/PID/stat that ReadProcessStats uses, in the kernel's units. The program's name, which may
/// hold spaces and parentheses, is skipped. kDataLoss if there are too few.
struct ProcStat {
  uint64_t user_ticks = 0, system_ticks = 0, start_ticks = 0, virtual_bytes = 0;
  int64_t threads = 0, resident_pages = 0;
};
Result<ProcStat> ParseProcStat(std::string_view text);

}  // namespace hadal
