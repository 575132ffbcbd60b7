// A fixed pool for data-parallel loops: short spin, then futex.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace hadal {

/// Runs loops over [0, count) on `threads` threads, the caller among them. One loop at a time, from one thread;
/// a loop body must not start another loop. No allocation after construction.
///
/// Fork cost: about 0.1 us while workers spin, 4 us once they sleep. Workers spin for a bounded time only, since an
/// unbounded spin beside a busy neighbour costs milliseconds.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  /// Calls body(index, worker) once for each index; indices are handed out in order, one at a time, to whichever
  /// worker is free. Results must not depend on which worker takes an index. worker is in [0, threads()).
  template <typename Body>
  void For(int64_t count, Body&& body) {
    if (count <= 1 || threads_ == 1) {
      for (int64_t i = 0; i < count; ++i) body(i, 0);
      return;
    }
    Run(count, [](void* context, int64_t i, int worker) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(i, worker);
        }, const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* context, int64_t index, int worker);
  void Run(int64_t count, Call call, void* context);
  void Work(int worker, uint32_t generation);
  void WorkerMain(int worker);
  void EndWorkers();

  const int threads_;
  std::vector<std::thread> workers_;
  /// The loop's generation in the upper half, indices not yet handed out in the lower. A loop ends when its indices
  /// are done, not when every worker has looked: one that wakes late finds another generation, and takes nothing.
  alignas(64) std::atomic<uint64_t> tickets_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // indices not yet done
  int64_t count_ = 0;
  Call call_ = nullptr;
  void* context_ = nullptr;
  std::atomic<bool> stop_{false};
};

}  // namespace hadal
