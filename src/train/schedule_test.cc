#include "train/schedule.h"

#include <gtest/gtest.h>

namespace hadal::train {
namespace {

TEST(LearningRate, WarmsUpAndFallsAsACosine) {
  const LearningRate rate{.peak = 2, .final_share = 0.1, .warmup_steps = 4, .total_steps = 24};
  ASSERT_TRUE(rate.Check());
  EXPECT_DOUBLE_EQ(rate.At(0), 0.5);
  EXPECT_DOUBLE_EQ(rate.At(3), 2);
  EXPECT_DOUBLE_EQ(rate.At(4), 2);
  EXPECT_DOUBLE_EQ(rate.At(14), 2 * (0.1 + 0.9 * 0.5));
  EXPECT_NEAR(rate.At(24), 0.2, 1e-15);
  EXPECT_NEAR(rate.At(1000), 0.2, 1e-15);
  for (int64_t s = 5; s < 24; ++s) EXPECT_LT(rate.At(s), rate.At(s - 1));
}

TEST(LearningRate, StaysUntilItDecaysUnderWsd) {
  const LearningRate rate{.peak = 1,
                          .final_share = 0,
                          .warmup_steps = 10,
                          .total_steps = 100,
                          .decay = Decay::kWsd,
                          .wsd_decay_share = 0.2};
  EXPECT_DOUBLE_EQ(rate.At(10), 1);
  EXPECT_DOUBLE_EQ(rate.At(80), 1);
  EXPECT_NEAR(rate.At(90), 0.5, 1e-12);
  EXPECT_NEAR(rate.At(100), 0, 1e-12);
}

TEST(LearningRate, RefusesWhatMakesNoSense) {
  EXPECT_FALSE((LearningRate{.peak = 0, .total_steps = 1}.Check()));
  EXPECT_FALSE((LearningRate{.peak = 1, .warmup_steps = 3, .total_steps = 2}.Check()));
  EXPECT_FALSE((LearningRate{.peak = 1, .final_share = 1.5, .total_steps = 2}.Check()));
  EXPECT_FALSE((LearningRate{.peak = 1, .total_steps = 0}.Check()));
}

TEST(LossScale, HalvesAtOverflowAndDoublesAfterPatience) {
  LossScale scale(1024, 3);
  scale.Update(true);
  EXPECT_EQ(scale.value(), 512);
  scale.Update(false);
  scale.Update(false);
  EXPECT_EQ(scale.value(), 512);
  scale.Update(false);
  EXPECT_EQ(scale.value(), 1024);
  for (int i = 0; i < 100; ++i) scale.Update(true);
  EXPECT_EQ(scale.value(), 1);
  LossScale fixed;
  fixed.Update(true);
  EXPECT_EQ(fixed.value(), 1);
}

TEST(LossScale, RestoresWithinItsRange) {
  LossScale scale(1024, 10);
  scale.Restore(1e300, 10'000);
  EXPECT_EQ(scale.value(), 0x1p24);
  // One short of the patience: the scale can still move.
  EXPECT_EQ(scale.good_steps(), 9);
  scale.Restore(1e-9, -3);
  EXPECT_EQ(scale.value(), 1);
  EXPECT_EQ(scale.good_steps(), 0);
}

}  // namespace
}  // namespace hadal::train
