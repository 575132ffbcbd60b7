// How long one operation waits for the other ranks.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "parallel/launch.h"

namespace hadal {

/// Made when an operation begins, and asked now and then while it lasts. Where the ranks keep records, long work that one
/// of them announced does not count against the limit, and one that is gone ends the wait at once.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  /// `options` must outlive it. `recorded`: all ranks' records are of this run.
  Patience(const LaunchOptions& options, int rank, int ranks, bool recorded, Clock::time_point now);

  /// "waited 3.0 s" or another reason why the wait is over; nothing: wait on. Cheap between its looks at the records.
  std::optional<std::string> Exhausted(Clock::time_point now);

 private:
  const LaunchOptions& options_;
  const int rank_, ranks_;
  const bool recorded_;
  const Clock::time_point start_;
  Clock::time_point end_, next_look_;
  bool told_ = false;
};

}  // namespace hadal
