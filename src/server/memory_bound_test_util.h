// For tests of attacks: what they make the process take.
#pragma once

#include <gtest/gtest.h>

#include <fstream>

#include "base/cpu_info.h"

namespace hadal {

/// Fails the test if the process's memory grows by more than `bytes` while it lives, if only for a moment. Looks
/// nowhere under sanitizers, which keep what is freed, nor where the kernel does not let the peak be reset.
class MemoryBound {
 public:
  explicit MemoryBound(uint64_t bytes) : bytes_(bytes) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
    return;
#endif
#endif
    std::ofstream reset("/proc/self/clear_refs");
    reset << "5" << std::flush;  // the peak is what is resident now: proc(5)
    looks_ = reset.good();
    before_ = PeakResidentBytes();
  }
  ~MemoryBound() {
    if (looks_) EXPECT_LE(PeakResidentBytes(), before_ + bytes_) << "the attack took memory";
  }
  MemoryBound(const MemoryBound&) = delete;
  MemoryBound& operator=(const MemoryBound&) = delete;

 private:
  const uint64_t bytes_;
  bool looks_ = false;
  uint64_t before_ = 0;
};

}  // namespace hadal
