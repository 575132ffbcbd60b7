#include "parallel/communicator.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(LoopbackCommunicator, IsOneRankWhoseSumsAreItsOwn) {
  LoopbackCommunicator alone;
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.size(), 1);
  float values[] = {1.5f, -2, 0.25f, 8};
  ASSERT_TRUE(alone.AllReduceSum(View<float>(values, 2, 2)));
  EXPECT_EQ(values[0], 1.5f);
  EXPECT_EQ(values[3], 8.0f);
  EXPECT_TRUE(alone.Barrier());
}

}  // namespace
}  // namespace hadal
