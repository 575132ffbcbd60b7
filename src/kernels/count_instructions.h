// Instructions a piece of code executes, counted exactly and without hardware counters: a child process runs it, and
// the parent steps the child from one instruction to the next. For tests.
#pragma once

#if defined(__linux__)
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/status.h"

namespace hadal::testing_kernels {

#if defined(__linux__)
/// Steps `child`, which stops itself, until it exits. Returns the steps.
inline Result<int64_t> StepToExit(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) return Internal("waitpid: {}", std::strerror(errno));
  if (!WIFSTOPPED(status)) return Unsupported("this system does not let a process be traced");
  for (int64_t steps = 0;; ++steps) {
    if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0)
      return Unsupported("this system does not let a process be stepped: {}", std::strerror(errno));
    if (waitpid(child, &status, 0) != child) return Internal("waitpid: {}", std::strerror(errno));
    if (WIFEXITED(status)) return steps;
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
      return Internal("the stepped process ended or stopped with status {:#x}", status);
  }
}

/// Instructions that run() executes, some dozens of its frame included; the same number every time for code that
/// depends on nothing outside. About a microsecond or two each. Unsupported where processes may not be stepped.
template <typename Run>
Result<int64_t> CountInstructions(Run&& run) {
  // Both processes on one processor: each step is a turn of the two, and has no other processor to wake.
  cpu_set_t before, one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(sched_getcpu()), &one);
  sched_getaffinity(0, sizeof(before), &before);
  sched_setaffinity(0, sizeof(one), &one);
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    raise(SIGSTOP);
    run();
    _exit(0);
  }
  Result<int64_t> steps = child < 0 ? Result<int64_t>(Internal("fork: {}", std::strerror(errno))) : StepToExit(child);
  if (child > 0 && !steps) {  // ended already, or stopped still
    int status = 0;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  sched_setaffinity(0, sizeof(before), &before);
  return steps;
}
#else
template <typename Run>
Result<int64_t> CountInstructions(Run&&) {
  return Unsupported("instructions are counted on Linux only");
}
#endif

}  // namespace hadal::testing_kernels
