// A progress bar for people who wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal {

/// "loading  [######      ]  45 %  1.2 of 2.7 GB  310 MB/s  5 s left", cut to `width` columns. Powers of
/// 1000. Bytes if `bytes`, else plain numbers; total 0 gives an empty line.
std::string ProgressLine(std::string_view label, uint64_t done, uint64_t total, double seconds, int width,
                         bool bytes);

/// Draws a ProgressLine on standard error, on a terminal only, and for work that takes more than two seconds
/// only. One thread at a time.
class ProgressBar {
 public:
  explicit ProgressBar(std::string_view label, bool bytes = true);
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws ten times a second at most.
  void Update(uint64_t done, uint64_t total);
  /// Takes the line away.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  bool bytes_;
  bool terminal_;  // draws at all
  bool color_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

/// Whether a bar should show: work of `seconds` so far, done / total of it, will take or took more than two.
bool WorthShowing(double seconds, uint64_t done, uint64_t total);

}  // namespace hadal
