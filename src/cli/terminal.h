// The terminal: whether there is one, and Ctrl-C as a question asked rather than a program ended.
#pragma once

#include <string>
#include <string_view>

namespace hadal {

bool IsTerminal(int fd);
/// Whether colours may be sent to `fd`: a terminal that is not "dumb", and NO_COLOR is not set
/// (no-color.org).
bool UsesColor(int fd);

/// `text`, whole UTF-8 characters, without what a terminal takes as a command (control characters but newline
/// and tab): a model must not be able to move the cursor or set the window's title.
std::string WithoutControls(std::string_view text);

/// While it lives, SIGINT is remembered instead of ending the program; with `also_terminate` SIGTERM, SIGHUP and
/// SIGUSR1 (which mpirun hands on to its ranks) too, so that a verb which writes a folder can remove it. One at a time.
class InterruptGuard {
 public:
  explicit InterruptGuard(bool also_terminate = false);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Whether SIGINT came since the last Clear.
  bool Requested() const;
  void Clear();
  /// Becomes readable when SIGINT comes, for poll.
  int fd() const;
};

}  // namespace hadal
