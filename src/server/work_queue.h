// One thread for work that takes too long for the threads that serve connections: password hashes, records
// that must be on the disk.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace hadal {

class WorkQueue {
 public:
  /// At most `limit` pieces wait.
  explicit WorkQueue(size_t limit) : limit_(limit), thread_([this] { Run(); }) {}
  /// Does what is waiting, then ends the thread.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  /// False, at once, if too much is waiting. `work` must not throw.
  bool Add(std::function<void()> work);

 private:
  void Run();

  const size_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace hadal
