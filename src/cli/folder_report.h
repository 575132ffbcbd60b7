// What synth and convert say when they have written a folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace hadal {

/// Made when the work begins.
struct FolderReport {
  explicit FolderReport(std::string folder) : folder(std::move(folder)) {}

  /// One line, or {"out", "bytes", "seconds"}.
  Status Print(bool json) const;

  std::string folder;
  uint64_t bytes = 0;  // of tensors
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

}  // namespace hadal
