#include "engine/prefill_budget.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(PrefillBudget, WithoutATargetIsAlwaysAll) {
  PrefillBudget budget(512, 0);
  budget.Observe(4, 512, 100);
  EXPECT_EQ(budget.tokens(), 512);
}

/// A machine whose step takes `base` and `per_token` for each prompt token: where the budget settles.
int64_t Settled(PrefillBudget& budget, double base, double per_token) {
  for (int step = 0; step < 200; ++step)
    budget.Observe(4, budget.tokens(), base + per_token * budget.tokens());
  return budget.tokens();
}

TEST(PrefillBudget, SettlesBelowTheTargetAndFollowsTheMachine) {
  PrefillBudget budget(512, 0.050);
  const int64_t slow = Settled(budget, 0.010, 0.0002);  // 200 tokens reach the target
  EXPECT_GT(slow, 140);
  EXPECT_LE(slow, 200);
  const int64_t slower = Settled(budget, 0.010, 0.001);
  EXPECT_GT(slower, 28);
  EXPECT_LE(slower, 40);
  EXPECT_EQ(Settled(budget, 0.010, 0.00001), 512);
}

TEST(PrefillBudget, AnUnreachableTargetLeavesThePromptsTheLeast) {
  PrefillBudget budget(512, 0.001);
  EXPECT_EQ(Settled(budget, 0.010, 0.001), PrefillBudget::kLeast);
  PrefillBudget small(8, 0.001);
  EXPECT_EQ(Settled(small, 0.010, 0.001), 8);
}

TEST(PrefillBudget, IgnoresStepsThatSayNothing) {
  PrefillBudget budget(512, 0.050);
  budget.Observe(0, 512, 10);
  budget.Observe(8, 0, 10);
  EXPECT_EQ(budget.tokens(), 512);
  budget.Observe(8, 512, 0.5);
  const int64_t less = budget.tokens();
  EXPECT_LT(less, 100);
  budget.Observe(8, less - 1, 0.001);
  EXPECT_EQ(budget.tokens(), less) << "the budget was not what bounded the step";
}

}  // namespace
}  // namespace hadal
