#include "cli/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/check.h"

namespace hadal {
namespace {

// A signal handler gets no context: this is all the state it needs, owned by the one InterruptGuard.
std::atomic<bool> interrupted{false};
std::atomic<int> wake_fd{-1};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);
int wake_pipe[2] = {-1, -1};
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
constexpr int kAllSignals = 4;
struct sigaction previous_actions[kAllSignals];
int guarded_signals = 0;

void OnInterrupt(int) {
  const int saved = errno;
  interrupted.store(true);
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = write(wake_fd.load(), &byte, 1);
  errno = saved;
}

}  // namespace

bool IsTerminal(int fd) { return isatty(fd) == 1; }

bool UsesColor(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return IsTerminal(fd) && (no_color == nullptr || *no_color == '\0') && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

std::string WithoutControls(std::string_view text) {
  std::string shown;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    // U+0080 to U+009F: C2 and the character's own number.
    const bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    if (!c0 && !c1) shown += text[i];
  }
  return shown;
}

InterruptGuard::InterruptGuard(bool also_terminate) {
  HADAL_CHECK(wake_pipe[0] < 0, "two InterruptGuards at a time");
  HADAL_CHECK(pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) == 0, "no pipe: errno {}", errno);
  interrupted = false;
  wake_fd = wake_pipe[1];
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = SA_RESTART;
  guarded_signals = also_terminate ? kAllSignals : 1;
  for (int i = 0; i < guarded_signals; ++i) sigaction(kSignals[i], &action, &previous_actions[i]);
}

InterruptGuard::~InterruptGuard() {
  for (int i = 0; i < guarded_signals; ++i) sigaction(kSignals[i], &previous_actions[i], nullptr);
  wake_fd = -1;
  for (int& fd : wake_pipe) {
    close(fd);
    fd = -1;
  }
}

bool InterruptGuard::Requested() const { return interrupted.load(); }

void InterruptGuard::Clear() {
  interrupted = false;
  char bytes[64];
  while (read(wake_pipe[0], bytes, sizeof bytes) > 0) {
  }
}

int InterruptGuard::fd() const { return wake_pipe[0]; }

}  // namespace hadal
