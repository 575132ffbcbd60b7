#include "train/batch_plan.h"

#include <gtest/gtest.h>

namespace hadal::train {
namespace {

TEST(BatchPlan, FillsInWhatIsOpen) {
  const BatchPlan derived = CompleteBatchPlan({.micro_batch_size = 4, .data_parallel = 2, .global_batch_size = 512}).value();
  EXPECT_EQ(derived.gradient_accumulation_steps, 64);
  const BatchPlan global = CompleteBatchPlan({.micro_batch_size = 4, .gradient_accumulation_steps = 3, .data_parallel = 2}).value();
  EXPECT_EQ(global.global_batch_size, 24);
  EXPECT_EQ(CompleteBatchPlan({}).value().gradient_accumulation_steps, 1);
}

TEST(BatchPlan, RefusesAProductThatDoesNotMatchWithEachWayToMendIt) {
  const auto guide = CompleteBatchPlan({.micro_batch_size = 4, .gradient_accumulation_steps = 16, .data_parallel = 2,
                                        .global_batch_size = 512});
  ASSERT_FALSE(guide);
  EXPECT_EQ(guide.error().message,
            "micro_batch_size 4 x gradient_accumulation_steps 16 x data_parallel 2 = 128, and global_batch_size is 512; "
            "set gradient_accumulation_steps to 64, data_parallel to 8, micro_batch_size to 16, or global_batch_size to "
            "128");
  const auto odd = CompleteBatchPlan({.micro_batch_size = 3, .gradient_accumulation_steps = 5, .global_batch_size = 10});
  ASSERT_FALSE(odd);
  EXPECT_NE(odd.error().message.find("set micro_batch_size to 2, or global_batch_size to 15"), std::string::npos)
      << odd.error().message;
  EXPECT_FALSE(CompleteBatchPlan({.micro_batch_size = 3, .global_batch_size = 10}));
  EXPECT_FALSE(CompleteBatchPlan({.micro_batch_size = 0}));
  EXPECT_FALSE(CompleteBatchPlan({.micro_batch_size = 1, .gradient_accumulation_steps = -1}));
}

}  // namespace
}  // namespace hadal::train
