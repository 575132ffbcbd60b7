// The loop gives every request what it gets alone, bit for bit, whatever else goes on.
#include <gtest/gtest.h>

#include <ostream>

#include "engine/engine_loop_test_util.h"

namespace hadal::loop_test {
namespace {

struct Setting {
  std::string name;
  std::string folder;
  int64_t contexts;
  LoopOptions options;
  int threads = 2;
};

void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

class EngineLoopTest : public testing::TestWithParam<Setting> {};

/// Submits from two threads, each waiting now and then until one of its requests is under way; some are
/// cancelled.
TEST_P(EngineLoopTest, EveryRequestGetsWhatItGetsAlone) {
  const Setting& setting = GetParam();
  constexpr size_t kCount = 48;
  const bool guesses = setting.options.speculative != Speculation::kOff;
  auto engine = Load(setting.folder, setting.contexts, setting.threads, guesses);
  const std::vector<Asked> asked = RandomRequests(kCount, 7, engine->config().vocab_size);
  std::vector<Truth> truths;
  for (const Asked& a : asked) truths.push_back(Alone(*engine, a));

  auto loop = Must(EngineLoop::Start(std::move(engine), setting.options));
  std::vector<Inbox> inboxes(kCount);
  std::vector<char> cancelled(kCount, false);
  const auto submit = [&](size_t first) {
    std::mt19937 random(static_cast<unsigned>(first) + 3);
    for (size_t i = first; i < kCount; i += 2) {
      const RequestId id = Must(loop->Submit(ToRequest(asked[i], inboxes[i])));
      if (random() % 4 == 0) inboxes[i].WaitFor(1 + random() % 3);
      if (random() % 5 == 0) {
        loop->Cancel(id);
        cancelled[i] = true;
      }
    }
  };
  std::thread other(submit, 1);
  submit(0);
  other.join();
  loop->Drain(kLong);

  for (size_t i = 0; i < kCount; ++i) {
    SCOPED_TRACE(testing::Message() << "request " << i);
    if (cancelled[i] && inboxes[i].last().reason == FinishReason::kCancelled)
      ExpectPrefixOfTruth(inboxes[i], truths[i], asked[i]);
    else
      ExpectTruth(inboxes[i], truths[i], asked[i]);
  }
  ExpectNoLeak(*loop);
  const LoopStats stats = loop->stats();
  EXPECT_EQ(stats.finished_requests, static_cast<int64_t>(kCount));
  EXPECT_LE(stats.accepted_tokens, stats.drafted_tokens);
  EXPECT_EQ(stats.accepted_tokens > 0, guesses) << "of " << stats.drafted_tokens << " guesses";
  EXPECT_EQ(stats.drafted_tokens > stats.accepted_tokens, guesses) << "no guess was wrong";
  if (setting.options.prefix_cache) {
    EXPECT_GT(stats.prefix_hit_tokens, 0);
  } else {
    EXPECT_EQ(stats.prefix_hit_tokens + stats.cached_blocks, 0);
  }
  if (setting.contexts == 1 && setting.options.max_running > 1)
    EXPECT_GT(stats.preemptions, 0) << "the pool was not small enough to test preemption";
}

INSTANTIATE_TEST_SUITE_P(
    Settings, EngineLoopTest,
    testing::Values(
        Setting{"roomy", "v3-tiny-bf16", 8, {.max_running = 8}},
        Setting{"tight", "v3-tiny-bf16", 1, {.max_running = 8}},
        Setting{"tight_without_prefix_cache", "v3-tiny-bf16", 1, {.max_running = 8, .prefix_cache = false}},
        Setting{"tight_with_target", "v3-tiny-mtp", 1, {.max_running = 6, .target_tpot_ms = 0.01}},
        Setting{"one_thread", "v3-tiny-fp8", 2, {.max_running = 3}, 1},
        Setting{"one_at_a_time", "moonlight-tiny", 1, {.max_running = 1, .prefix_cache = true}, 3},
        Setting{"guessing", "v3-tiny-mtp", 8, {.max_running = 8, .speculative = Speculation::kMtp}},
        Setting{"guessing_far_in_little_room", "v3-tiny-mtp", 1,
                {.max_running = 8, .speculative = Speculation::kMtp, .speculative_tokens = 4}},
        Setting{"guessing_with_target", "v3-tiny-mtp", 2,
                {.max_running = 6, .target_tpot_ms = 0.01, .speculative = Speculation::kMtp, .speculative_tokens = 2},
                1},
        Setting{"guessing_without_prefix_cache", "v3-tiny-mtp", 1,
                {.max_running = 5, .prefix_cache = false, .speculative = Speculation::kMtp}, 3}),
    [](const auto& setting) { return setting.param.name; });

}  // namespace
}  // namespace hadal::loop_test
