// Bounds the memory of all programs together.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

#include "engine/grammar/program.h"

namespace hadal::grammar {

// Of requests that run and wait. A usual program takes 10 to 500 KB, and the largest 10 MB.
inline constexpr size_t kMaxProgramBytes = size_t{64} << 20;

/// Counts programs from Keep until their last holder lets go. Thread-safe; may end before the programs.
class ProgramBudget {
 public:
  explicit ProgramBudget(size_t bytes = kMaxProgramBytes)
      : limit_(bytes), used_(std::make_shared<std::atomic<size_t>>(0)) {}

  /// The program, counted. kResourceExhausted if there is no room for it beside the others: later there may be.
  Result<std::shared_ptr<const Program>> Keep(std::shared_ptr<const Program> program);
  /// Bytes of programs that are kept.
  size_t used() const { return *used_; }

 private:
  size_t limit_;
  std::shared_ptr<std::atomic<size_t>> used_;
};

}  // namespace hadal::grammar
