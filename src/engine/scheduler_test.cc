#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

namespace hadal {
namespace {

constexpr int64_t kBlock = 4;

/// Requests whose tokens nobody computes: a "step" marks them computed and draws a token for each that is
/// ready.
class World {
 public:
  World(int64_t blocks, SchedulerOptions options, bool prefix_cache = false)
      : pool(blocks),
        cache(pool, kBlock, prefix_cache, {1, 2}),
        options_(Sized(options)),
        scheduler(options_, cache) {}

  ScheduledRequest& Add(int64_t prompt, int64_t priority = 0) {
    auto request = std::make_unique<ScheduledRequest>();
    request->arrival = ++arrivals_;
    request->priority = priority;
    for (int64_t i = 0; i < prompt; ++i) request->sequence.tokens.push_back(static_cast<int32_t>(i));
    request->sequence.prompt_length = prompt;
    request->hashes = cache.Hashes(request->sequence.tokens);
    scheduler.Add(*request);
    requests.push_back(std::move(request));
    return *requests.back();
  }

  const StepPlan& Step(int64_t prefill_budget = 1 << 30) {
    const StepPlan& plan = scheduler.Schedule(prefill_budget);
    CheckPlan(plan, prefill_budget);
    FinishStep(plan.slices);
    // Every guess is wrong.
    for (const Slice& slice : plan.slices) slice.sequence->computed -= slice.drafts;
    scheduler.Complete();
    for (const Slice& slice : plan.slices)
      if (slice.logits) slice.sequence->tokens.push_back(7);
    return plan;
  }

  void End(ScheduledRequest& request) {
    scheduler.Remove(request, false);
    std::erase_if(requests, [&](const auto& r) { return r.get() == &request; });
  }

  static int64_t Planned(const StepPlan& plan, const ScheduledRequest& request) {
    for (size_t i = 0; i < plan.requests.size(); ++i)
      if (plan.requests[i] == &request) return plan.slices[i].count;
    return 0;
  }

  BlockPool pool;
  PrefixCache cache;
  std::vector<std::unique_ptr<ScheduledRequest>> requests;

 private:
  static SchedulerOptions Sized(SchedulerOptions options) {
    options.block_size = kBlock;
    return options;
  }

  void CheckPlan(const StepPlan& plan, int64_t prefill_budget) {
    int64_t tokens = 0, logits = 0, drafts = 0;
    for (size_t i = 0; i < plan.slices.size(); ++i) {
      const Slice& slice = plan.slices[i];
      ASSERT_EQ(slice.sequence, &plan.requests[i]->sequence);
      ASSERT_EQ(slice.logits, slice.count == slice.sequence->pending() + slice.drafts ? 1 + slice.drafts : 0);
      ASSERT_TRUE(slice.drafts == 0 || slice.sequence->pending() == 1);
      logits += slice.logits;
      drafts += slice.drafts;
      ASSERT_GE(static_cast<int64_t>(slice.sequence->block_table.size()) * kBlock,
                slice.sequence->computed + slice.count);
      ASSERT_EQ(std::count(plan.requests.begin(), plan.requests.end(), plan.requests[i]), 1);
      tokens += slice.count;
    }
    ASSERT_EQ(tokens, plan.decode_tokens + plan.draft_tokens + plan.prefill_tokens);
    ASSERT_EQ(drafts, plan.draft_tokens);
    ASSERT_LE(logits, options_.logit_rows);
    ASSERT_LE(tokens, options_.step_tokens);
    if (plan.decode_tokens > 0) ASSERT_LE(plan.prefill_tokens, std::max<int64_t>(prefill_budget, 1));
    ASSERT_LE(scheduler.running(), options_.max_running);
  }

  SchedulerOptions options_;
  uint64_t arrivals_ = 0;

 public:
  Scheduler scheduler;
};

TEST(Scheduler, DecodesFirstAndGivesTheRestToTheOldestPrompt) {
  World world(100, {.step_tokens = 10, .max_running = 4, .context = 100});
  ScheduledRequest& a = world.Add(6);
  EXPECT_EQ(World::Planned(world.Step(), a), 6);
  ScheduledRequest& b = world.Add(20);
  ScheduledRequest& c = world.Add(5);
  const StepPlan& mixed = world.Step();
  EXPECT_EQ(mixed.requests.front(), &a);
  EXPECT_EQ(World::Planned(mixed, a), 1);
  EXPECT_EQ(World::Planned(mixed, b), 9);
  EXPECT_EQ(World::Planned(mixed, c), 0);
  EXPECT_EQ(World::Planned(world.Step(), b), 9);
  const StepPlan& last = world.Step();
  EXPECT_EQ(World::Planned(last, b), 2);
  EXPECT_EQ(World::Planned(last, c), 5);
  EXPECT_EQ(last.decode_tokens, 1);
}

TEST(Scheduler, ThePrefillBudgetHoldsOnlyBesideDecodes) {
  World world(100, {.step_tokens = 10, .max_running = 4, .context = 100});
  ScheduledRequest& a = world.Add(20);
  EXPECT_EQ(World::Planned(world.Step(2), a), 10);
  EXPECT_EQ(World::Planned(world.Step(2), a), 10);
  ScheduledRequest& b = world.Add(20);
  EXPECT_EQ(World::Planned(world.Step(2), b), 2);
  EXPECT_EQ(World::Planned(world.Step(0), b), 1) << "a prompt always gets on";
}

TEST(Scheduler, GuessesTakeWhatOthersLeaveOfTheStep) {
  World world(100, {.step_tokens = 10, .max_running = 4, .context = 100, .drafts = 3});
  ScheduledRequest& a = world.Add(4);
  EXPECT_EQ(world.Step().draft_tokens, 0) << "nothing is guessed beside a prompt's tokens";
  EXPECT_EQ(World::Planned(world.Step(), a), 4);
  ScheduledRequest& b = world.Add(30);
  const StepPlan& mixed = world.Step();
  EXPECT_EQ(World::Planned(mixed, a), 4) << "three of the nine that decoding leaves";
  EXPECT_EQ(World::Planned(mixed, b), 6);
  world.End(b);
  for (int i = 0; i < 3; ++i) world.Add(2);
  world.Step();
  const StepPlan& four = world.Step();
  EXPECT_EQ(four.decode_tokens, 4);
  EXPECT_EQ(four.draft_tokens, 6);
  EXPECT_EQ(four.slices[0].drafts, 2) << "each gets a first one before any a second";
  EXPECT_EQ(four.slices[3].drafts, 1);
  world.Add(30);
  const StepPlan& again = world.Step();
  EXPECT_EQ(again.prefill_tokens + again.draft_tokens, 6);
}

TEST(Scheduler, GuessesLeaveHalfOfTheStepToPrompts) {
  World world(100, {.step_tokens = 10, .max_running = 5, .context = 100, .drafts = 4});
  for (int i = 0; i < 4; ++i) world.Add(2);
  world.Step();
  world.Add(30);
  const StepPlan& mixed = world.Step();
  EXPECT_EQ(mixed.decode_tokens, 4);
  EXPECT_EQ(mixed.prefill_tokens, 3);
  EXPECT_EQ(mixed.draft_tokens, 3);
}

TEST(Scheduler, GuessesEndWithTheRowsOfLogitsAndTheAnswer) {
  World world(100, {.step_tokens = 30, .max_running = 2, .context = 20, .drafts = 4, .logit_rows = 5});
  ScheduledRequest& a = world.Add(4);
  ScheduledRequest& b = world.Add(4);
  a.most_tokens = 7;  // two more than it has after the first step
  world.Step();
  const StepPlan& plan = world.Step();
  EXPECT_EQ(World::Planned(plan, a), 2) << "the third token is drawn and never computed";
  EXPECT_EQ(World::Planned(plan, b), 3) << "of five rows of logits, one for a guess of a and two for their own";
  EXPECT_EQ(World::Planned(world.Step(), a), 1);
}

TEST(Scheduler, GuessesTakeNoBlockThatSomebodyNeeds) {
  World world(3, {.step_tokens = 30, .max_running = 2, .context = 12, .drafts = 4});
  ScheduledRequest& a = world.Add(3);
  ScheduledRequest& b = world.Add(3);
  world.Step();  // each has 3 computed and one pending, in a block of 4
  const StepPlan& full = world.Step();
  EXPECT_EQ(full.lost.size(), 0u);
  EXPECT_EQ(full.draft_tokens, 0) << "both need a block next, and one is left";
  EXPECT_EQ(a.sequence.computed, 4);
  EXPECT_EQ(b.sequence.computed, 4);
  EXPECT_EQ(world.Step().lost.size(), 1u) << "a takes the last block, b has to wait";
}

TEST(Scheduler, PriorityThenArrivalDecidesWhoStarts) {
  World world(100, {.step_tokens = 10, .max_running = 1, .context = 100});
  ScheduledRequest& first = world.Add(3);
  ScheduledRequest& low = world.Add(3, -1);
  ScheduledRequest& second = world.Add(3);
  ScheduledRequest& high = world.Add(3, 4);
  for (ScheduledRequest* next : {&high, &first, &second, &low}) {
    EXPECT_EQ(World::Planned(world.Step(), *next), 3);
    world.End(*next);
  }
  EXPECT_TRUE(world.scheduler.empty());
}

TEST(Scheduler, TheYoungestGivesWayAndComesBack) {
  World world(4, {.step_tokens = 16, .max_running = 4, .context = 16});
  ScheduledRequest& old = world.Add(7);
  ScheduledRequest& young = world.Add(7);
  EXPECT_EQ(world.Step().requests.size(), 2u);
  world.Step();  // both have 8 tokens computed: two blocks each, and none is free
  const StepPlan& plan = world.Step();
  EXPECT_EQ(plan.lost.size(), 1u);
  EXPECT_EQ(World::Planned(plan, old), 1);
  EXPECT_EQ(World::Planned(plan, young), 0);
  EXPECT_TRUE(young.sequence.block_table.empty());
  EXPECT_EQ(young.sequence.computed, 0);
  EXPECT_EQ(young.sequence.length(), 9) << "its tokens stay";
  EXPECT_EQ(young.sequence.prompt_length, 7) << "and their roles";
  EXPECT_EQ(World::Planned(world.Step(), young), 0) << "it would be preempted again";
  world.End(old);
  const StepPlan& resumed = world.Step();
  EXPECT_EQ(World::Planned(resumed, young), 9);
  EXPECT_TRUE(resumed.started.empty()) << "it has started before";
}

TEST(Scheduler, LowPriorityGivesWayBeforeLateArrival) {
  World world(4, {.step_tokens = 16, .max_running = 4, .context = 16});
  ScheduledRequest& low = world.Add(7, -1);
  ScheduledRequest& late = world.Add(7);
  world.Step();
  world.Step();
  const StepPlan& plan = world.Step();
  EXPECT_EQ(World::Planned(plan, late), 1);
  EXPECT_EQ(World::Planned(plan, low), 0);
}

TEST(Scheduler, APlannedDecodeIsTakenBackWhenAnOlderPromptNeedsItsBlocks) {
  World world(6, {.step_tokens = 4, .max_running = 2, .context = 24});
  ScheduledRequest& young = world.Add(3);
  world.Step();
  ScheduledRequest& prompt = world.Add(15, 1);
  while (prompt.sequence.computed < 12) world.Step();
  // Tokens by the young one until it holds what the prompt was admitted with.
  for (int i = 0; i < 8; ++i) young.sequence.tokens.push_back(7);
  young.sequence.computed = young.sequence.length() - 1;
  ASSERT_TRUE(world.cache.Extend(young.sequence.block_table, 6 - 3));
  const StepPlan& plan = world.Step();
  EXPECT_EQ(plan.lost.size(), 1u);
  EXPECT_EQ(plan.decode_tokens, 0);
  EXPECT_GT(World::Planned(plan, prompt), 0);
}

TEST(Scheduler, NobodyStartsWhoseBlocksRunningRequestsStillNeed) {
  World world(10, {.step_tokens = 4, .max_running = 4, .context = 40});
  ScheduledRequest& big = world.Add(31);   // 8 blocks when it is done
  ScheduledRequest& next = world.Add(11);  // 3 blocks
  ScheduledRequest& small = world.Add(3);
  for (int i = 0; i < 6; ++i) {
    const StepPlan& plan = world.Step();
    EXPECT_EQ(World::Planned(plan, big), 4);
    EXPECT_EQ(World::Planned(plan, next) + World::Planned(plan, small), 0) << "and nobody overtakes";
  }
}

TEST(Scheduler, StartsWithWhatThePrefixCacheHas) {
  World world(20, {.step_tokens = 40, .max_running = 4, .context = 40}, true);
  ScheduledRequest& first = world.Add(12);
  world.Step();
  ScheduledRequest& second = world.Add(12);
  const StepPlan& plan = world.Step();
  EXPECT_EQ(second.prefix_tokens, 8);
  EXPECT_EQ(World::Planned(plan, second), 4);
  EXPECT_EQ(second.sequence.block_table, (std::vector<int32_t>{first.sequence.block_table.begin(),
                                                               first.sequence.block_table.begin() + 3}))
      << "the third was computed twice and is shared since";
}

TEST(Scheduler, ABeginningThatIsBeingComputedIsWaitedFor) {
  World world(40, {.step_tokens = 16, .max_running = 4, .context = 40}, true);
  ScheduledRequest& first = world.Add(30);
  ScheduledRequest& same = world.Add(30);
  const StepPlan& begun = world.Step(4);
  EXPECT_EQ(World::Planned(begun, first), 16);
  EXPECT_EQ(World::Planned(begun, same), 0);
  const StepPlan& done = world.Step();
  EXPECT_EQ(World::Planned(done, first), 14);
  EXPECT_EQ(World::Planned(done, same), 0)
      << "two tokens of the budget are left, and the rest is not yet there";
  const StepPlan& shared = world.Step();
  EXPECT_EQ(same.prefix_tokens, 28);
  EXPECT_EQ(World::Planned(shared, same), 2);
}

TEST(Scheduler, NobodyWaitsForABeginningOfLowerPriority) {
  World world(40, {.step_tokens = 16, .max_running = 4, .context = 40}, true);
  world.Add(30);
  world.Step();
  ScheduledRequest& urgent = world.Add(30, 1);
  EXPECT_EQ(World::Planned(world.Step(), urgent), 2) << "what the running prompt leaves of the step";
}

/// Random arrivals, lengths and ends in a small pool: the budget holds (CheckPlan), everyone ends, nothing
/// leaks.
TEST(Scheduler, EveryoneIsServedWhateverComes) {
  for (const bool prefix_cache : {false, true}) {
    std::mt19937 random(5);
    World world(12, {.step_tokens = 9, .max_running = 5, .context = 40}, prefix_cache);
    int64_t added = 0, ended = 0, preempted = 0;
    for (int step = 0; step < 20000 && ended < 400; ++step) {
      if (added < 400 && random() % 3 == 0) {
        world.Add(1 + random() % 30, static_cast<int64_t>(random() % 3));
        ++added;
      }
      if (world.scheduler.empty()) continue;
      const StepPlan& plan = world.Step(1 + random() % 9);
      ASSERT_FALSE(plan.slices.empty());
      preempted += static_cast<int64_t>(plan.lost.size());
      const std::vector<ScheduledRequest*> planned = plan.requests;
      for (ScheduledRequest* request : planned) {
        const Sequence& s = request->sequence;
        if (s.pending() != 1 || s.computed < s.prompt_length) continue;
        if (random() % 12 && s.length() < 40) continue;
        world.End(*request);
        ++ended;
      }
    }
    EXPECT_EQ(ended, 400);
    EXPECT_GT(preempted, 10);
    EXPECT_EQ(world.cache.available(), 12);
    world.cache.Clear();
    EXPECT_EQ(world.pool.free_blocks(), 12);
  }
}

}  // namespace
}  // namespace hadal
