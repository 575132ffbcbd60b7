#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>

namespace hadal {
namespace {

TEST(ThreadPool, EveryIndexRunsOnceWhateverTheThreads) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      pool.For(count, [&](int64_t i, int worker) {
        ASSERT_LT(worker, threads);
        hits[static_cast<size_t>(i)]++;
      });
      for (const auto& hit : hits) EXPECT_EQ(hit, 1) << threads << " threads, " << count << " indices";
    }
  }
}

TEST(ThreadPool, ManySmallLoopsSeeEachOthersWrites) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int round = 0; round < 2000; ++round)
    pool.For(64, [&](int64_t i, int) { values[static_cast<size_t>((i + round) % 64)]++; });
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), 2000 * 64);
}

}  // namespace
}  // namespace hadal
