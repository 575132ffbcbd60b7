#include "train/pipeline.h"

#include <gtest/gtest.h>

#include <set>

namespace hadal::train {
namespace {

/// Runs all stages' plans against each other: an action runs when what it waits for is there. Returns whether
/// all end.
bool Completes(PipelineSchedule schedule, int stages, int64_t micro) {
  std::vector<std::vector<PipelineAction>> plans;
  for (int s = 0; s < stages; ++s) plans.push_back(PlanPipeline(schedule, stages, s, micro));
  std::vector<size_t> at(stages);
  std::set<std::pair<int, int64_t>> forwarded, backed;
  for (bool moved = true; moved;) {
    moved = false;
    for (int s = 0; s < stages; ++s) {
      if (at[s] == plans[s].size()) continue;
      const PipelineAction a = plans[s][at[s]];
      const bool ready = a.forward ? s == 0 || forwarded.contains({s - 1, a.micro_batch})
                                   : s == stages - 1 || backed.contains({s + 1, a.micro_batch});
      if (!ready) continue;
      (a.forward ? forwarded : backed).insert({s, a.micro_batch});
      ++at[s];
      moved = true;
    }
  }
  for (int s = 0; s < stages; ++s)
    if (at[s] != plans[s].size()) return false;
  return true;
}

TEST(Pipeline, EveryPlanIsCompleteAndNeverWaitsForItself) {
  for (const PipelineSchedule schedule : {PipelineSchedule::k1F1B, PipelineSchedule::kGPipe})
    for (const int stages : {1, 2, 3, 4, 8})
      for (const int64_t micro : {1, 2, 3, 5, 8, 17}) {
        EXPECT_TRUE(Completes(schedule, stages, micro)) << stages << " stages, " << micro;
        for (int s = 0; s < stages; ++s) {
          const auto plan = PlanPipeline(schedule, stages, s, micro);
          ASSERT_EQ(plan.size(), static_cast<size_t>(2 * micro));
          std::set<int64_t> busy;
          int64_t next[2] = {};
          for (const PipelineAction& a : plan) {
            EXPECT_EQ(a.micro_batch, next[a.forward]++);
            if (a.forward) EXPECT_TRUE(busy.insert(a.slot).second) << "slot " << a.slot << " is taken";
            else EXPECT_EQ(busy.erase(a.slot), 1u);
            EXPECT_LT(a.slot, PipelineSlots(schedule, stages, s, micro));
          }
        }
      }
}

TEST(Pipeline, KeepsNoMoreThanTheStagesThatFollow) {
  EXPECT_EQ(PipelineSlots(PipelineSchedule::k1F1B, 4, 0, 16), 4);
  EXPECT_EQ(PipelineSlots(PipelineSchedule::k1F1B, 4, 3, 16), 1);
  EXPECT_EQ(PipelineSlots(PipelineSchedule::kGPipe, 4, 3, 16), 16);
  EXPECT_DOUBLE_EQ(PipelineBubble(4, 13), 3.0 / 16);
}

}  // namespace
}  // namespace hadal::train
