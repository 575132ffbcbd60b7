#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace hadal {
namespace {

constexpr double kShownFrom = 2;      // seconds of work
constexpr double kGuessAfter = 0.5;   // seconds before the rest is extrapolated
constexpr double kRedrawEvery = 0.1;  // seconds
constexpr int kBarColumns = 24;

std::string Amount(double value, bool bytes) {
  const char* unit = bytes ? "B" : "";
  if (value < 1e3) return fmt::format("{:.0f} {}", value, unit);
  if (value < 1e6) return fmt::format("{:.1f} k{}", value / 1e3, unit);
  if (value < 1e9) return fmt::format("{:.1f} M{}", value / 1e6, unit);
  return fmt::format("{:.2f} G{}", value / 1e9, unit);
}

std::string Duration(double seconds) {
  const int64_t whole = std::llround(std::min(seconds, 1e9));
  if (whole < 120) return fmt::format("{} s", whole);
  if (whole < 7200) return fmt::format("{} min", whole / 60);
  return fmt::format("{} h", whole / 3600);
}

int TerminalColumns() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string ProgressLine(std::string_view label, uint64_t done, uint64_t total, double seconds, int width,
                         bool bytes) {
  if (total == 0) return {};
  const double share = std::min(static_cast<double>(done) / static_cast<double>(total), 1.0);
  const int filled = static_cast<int>(share * kBarColumns);
  const double rate = static_cast<double>(done) / std::max(seconds, 1e-3);
  std::string line = fmt::format("{}  [{}{}]  {:3.0f} %  {} of {}  {}/s", label,
                                 std::string(static_cast<size_t>(filled), '#'),
                                 std::string(static_cast<size_t>(kBarColumns - filled), ' '),
                                 std::floor(share * 100), Amount(static_cast<double>(done), bytes),
                                 Amount(static_cast<double>(total), bytes), Amount(rate, bytes));
  if (done > 0 && done < total)
    line += fmt::format("  {} left", Duration(static_cast<double>(total - done) / std::max(rate, 1e-9)));
  return line.substr(0, static_cast<size_t>(std::max(width, 0)));
}

bool WorthShowing(double seconds, uint64_t done, uint64_t total) {
  if (seconds >= kShownFrom) return true;
  if (seconds < kGuessAfter || done == 0) return false;
  return seconds * static_cast<double>(total) / static_cast<double>(done) > kShownFrom;
}

ProgressBar::ProgressBar(std::string_view label, bool bytes) : label_(label), bytes_(bytes) {
  const char* terminal = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  terminal_ = isatty(STDERR_FILENO) == 1 && (terminal == nullptr || std::string_view(terminal) != "dumb");
  color_ = terminal_ && (no_color == nullptr || *no_color == '\0');
}

void ProgressBar::Update(uint64_t done, uint64_t total) {
  if (!terminal_ || total == 0) return;
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (!WorthShowing(seconds, done, total)) return;
  if (drawn_ && std::chrono::duration<double>(now - last_).count() < kRedrawEvery) return;
  drawn_ = true;
  last_ = now;
  // One column stays free, so that the terminal does not wrap.
  const std::string line = ProgressLine(label_, done, total, seconds, TerminalColumns() - 1, bytes_);
  fmt::print(stderr, "\r\033[K{}{}{}", color_ ? "\033[36m" : "", line, color_ ? "\033[0m" : "");
  std::fflush(stderr);
}

void ProgressBar::Clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace hadal
