#include "base/thread_pool.h"

#include "base/check.h"

namespace hadal {
namespace {

// About 20 us on a 3 GHz core: longer than the gap between two kernels of a step, shorter than a scheduler slice.
constexpr int kSpins = 2000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  HADAL_CHECK(threads >= 1, "{} threads", threads);
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { WorkerMain(worker); });
  } catch (...) {
    EndWorkers();  // a thread that is never joined would end the process
    throw;
  }
}

ThreadPool::~ThreadPool() { EndWorkers(); }

void ThreadPool::EndWorkers() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Work(int worker, uint32_t generation) {
  uint32_t finished = 0;
  uint64_t tickets = tickets_.load(std::memory_order_acquire);
  while (tickets >> 32 == generation && static_cast<uint32_t>(tickets) != 0) {
    if (!tickets_.compare_exchange_weak(tickets, tickets - 1, std::memory_order_acq_rel, std::memory_order_acquire))
      continue;
    // The loop cannot end before this index is done, so its fields stay as they are.
    call_(context_, count_ - static_cast<uint32_t>(tickets), worker);
    ++finished;
    tickets = tickets_.load(std::memory_order_acquire);
  }
  if (finished > 0 && unfinished_.fetch_sub(finished, std::memory_order_acq_rel) == finished) unfinished_.notify_one();
}

void ThreadPool::WorkerMain(int worker) {
  uint32_t seen = 0;
  for (;;) {
    uint32_t now = generation_.load(std::memory_order_acquire);
    for (int spin = 0; now == seen && spin < kSpins; ++spin) {
      Pause();
      now = generation_.load(std::memory_order_acquire);
    }
    while (now == seen) {
      generation_.wait(seen, std::memory_order_acquire);
      now = generation_.load(std::memory_order_acquire);
    }
    seen = now;
    if (stop_) return;
    Work(worker, now);
  }
}

void ThreadPool::Run(int64_t count, Call call, void* context) {
  HADAL_CHECK(count <= INT32_MAX, "a loop of {}", count);
  count_ = count;
  call_ = call;
  context_ = context;
  const uint32_t generation = generation_.load(std::memory_order_relaxed) + 1;
  unfinished_.store(static_cast<uint32_t>(count), std::memory_order_relaxed);
  tickets_.store(uint64_t{generation} << 32 | static_cast<uint32_t>(count), std::memory_order_release);
  generation_.store(generation, std::memory_order_release);
  generation_.notify_all();
  Work(0, generation);
  uint32_t left = unfinished_.load(std::memory_order_acquire);
  for (int spin = 0; left != 0 && spin < kSpins; ++spin) {
    Pause();
    left = unfinished_.load(std::memory_order_acquire);
  }
  while (left != 0) {
    unfinished_.wait(left, std::memory_order_acquire);
    left = unfinished_.load(std::memory_order_acquire);
  }
}

}  // namespace hadal
