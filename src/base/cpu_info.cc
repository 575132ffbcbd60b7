#include "base/cpu_info.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>

namespace hadal {
namespace {

/// The number behind `key` in a file of "key: number kB" lines, in bytes; 0 if absent.
uint64_t KilobytesField(const char* file, std::string_view key) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (line.size() > key.size() && line.compare(0, key.size(), key) == 0 && line[key.size()] == ':')
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

/// A cgroup file's number; UINT64_MAX where the file is absent or says "max".
uint64_t CgroupNumber(const std::string& path) {
  std::ifstream in(path);
  std::string word;
  if (!(in >> word) || word == "max") return UINT64_MAX;
  return std::strtoull(word.c_str(), nullptr, 10);
}

/// The number behind `key` in a cgroup's memory.stat; 0 if absent.
uint64_t StatNumber(const std::string& path, std::string_view key) {
  std::ifstream in(path);
  std::string word;
  uint64_t number = 0;
  while (in >> word >> number)
    if (word == key) return number;
  return 0;
}

/// This process's cgroup v2 folder, or "" where there is none.
std::string CgroupFolder() {
  std::ifstream in("/proc/self/cgroup");
  std::string line;
  while (std::getline(in, line))
    if (line.rfind("0::", 0) == 0) return "/sys/fs/cgroup" + line.substr(3);
  return "";
}

}  // namespace

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kGeneric: return "generic";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "?";
}

Isa BestIsa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
                      __builtin_cpu_supports("avx512bf16");
  if (avx2 && avx512) return Isa::kAvx512;
  if (avx2) return Isa::kAvx2;
#endif
  return Isa::kGeneric;
}

std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas{Isa::kGeneric};
  if (BestIsa() >= Isa::kAvx2) isas.push_back(Isa::kAvx2);
  if (BestIsa() >= Isa::kAvx512) isas.push_back(Isa::kAvx512);
  return isas;
}

int UsableProcessors() {
  int processors = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) processors = CPU_COUNT(&set);
  if (const std::string folder = CgroupFolder(); !folder.empty()) {
    std::ifstream in(folder + "/cpu.max");
    std::string quota;
    double period = 0;
    if (in >> quota >> period && quota != "max" && period > 0)
      processors = std::min(processors, static_cast<int>(std::ceil(std::strtod(quota.c_str(), nullptr) / period)));
  }
  return std::max(processors, 1);
}

std::string ProcessorName() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line))
    if (line.rfind("model name", 0) == 0 && line.find(':') != std::string::npos)
      return line.substr(line.find(':') + 2);
  return "unknown processor";
}

uint64_t LastLevelCacheBytes() {
  for (int index = 4; index >= 0; --index) {
    std::ifstream in("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    std::string text;
    if (!(in >> text)) continue;
    uint64_t bytes = std::strtoull(text.c_str(), nullptr, 10);
    if (text.back() == 'K') bytes <<= 10;
    if (text.back() == 'M') bytes <<= 20;
    if (bytes > 0) return bytes;
  }
  return uint64_t{32} << 20;
}

uint64_t AvailableMemoryBytes() {
  uint64_t available = KilobytesField("/proc/meminfo", "MemAvailable");
  std::string folder = CgroupFolder();
  while (folder.size() > 14) {  // up to, and without, /sys/fs/cgroup itself
    const uint64_t limit = CgroupNumber(folder + "/memory.max");
    uint64_t used = CgroupNumber(folder + "/memory.current");
    // File pages are counted as used, and given back when memory is short.
    const uint64_t files = StatNumber(folder + "/memory.stat", "inactive_file") +
                           StatNumber(folder + "/memory.stat", "active_file");
    if (used != UINT64_MAX) used -= std::min(used, files);
    if (limit != UINT64_MAX && used != UINT64_MAX) available = std::min(available, limit > used ? limit - used : 0);
    folder.resize(folder.find_last_of('/'));
  }
  return available;
}

uint64_t PeakResidentBytes() { return KilobytesField("/proc/self/status", "VmHWM"); }
uint64_t AnonymousResidentBytes() { return KilobytesField("/proc/self/status", "RssAnon"); }

}  // namespace hadal
