// Threads for work that would hold up the server's own: password hashing, records that must be on the disk,
// long tokenizations.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hadal {

/// Runs tasks in order of arrival on `threads` threads; at most `most_waiting` wait. An exception ends its task only:
/// what the task holds is let go, so a request's writer answers 500. Thread-safe.
class TaskQueue {
 public:
  TaskQueue(int threads, size_t most_waiting);
  /// Runs what waits, then ends the threads.
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  /// False, with the task not taken, if too many wait.
  bool Submit(std::function<void()> task);

 private:
  void Run();

  const size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hadal
