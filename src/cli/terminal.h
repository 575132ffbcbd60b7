// The terminal: whether there is one, and Ctrl-C as a question asked rather than a program ended.
#pragma once

namespace hadal {

bool IsTerminal(int fd);
/// Whether colours may be sent to `fd`: a terminal that is not "dumb", and NO_COLOR is not set (no-color.org).
bool UsesColor(int fd);

/// While it lives, SIGINT is remembered instead of ending the program. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
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
