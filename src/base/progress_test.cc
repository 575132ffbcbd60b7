#include "base/progress.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(Progress, LineSaysShareAmountRateAndRest) {
  EXPECT_EQ(ProgressLine("loading", 500'000'000, 2'000'000'000, 2, 200, true),
            "loading  [######                  ]   25 %  500.0 MB of 2.00 GB  250.0 MB/s  6 s left");
  EXPECT_EQ(ProgressLine("x", 10, 10, 1, 200, false),
            "x  [########################]  100 %  10  of 10   10 /s");
}

TEST(Progress, LineHoldsAtTheEdges) {
  EXPECT_EQ(ProgressLine("x", 0, 0, 1, 80, true), "");
  EXPECT_EQ(ProgressLine("loading", 1, 2, 1, 5, true), "loadi");
  EXPECT_EQ(ProgressLine("loading", 1, 2, 1, -1, true), "");
  EXPECT_NE(ProgressLine("x", 3, 2, 1, 80, true).find("100 %"), std::string::npos);
  EXPECT_NE(ProgressLine("x", 0, 2, 0, 80, true).find("0 %"), std::string::npos);
  EXPECT_NE(ProgressLine("x", 1, UINT64_MAX, 1, 200, true).find("h left"), std::string::npos);
}

TEST(Progress, OnlyWorkOfMoreThanTwoSecondsIsShown) {
  EXPECT_FALSE(WorthShowing(0.1, 1, 1000));  // too early to tell
  EXPECT_FALSE(WorthShowing(0.6, 50, 100));  // 1.2 s in all
  EXPECT_FALSE(WorthShowing(0.6, 0, 100));
  EXPECT_TRUE(WorthShowing(0.6, 10, 100));  // 6 s in all
  EXPECT_TRUE(WorthShowing(2.5, 99, 100));
}

}  // namespace
}  // namespace hadal
