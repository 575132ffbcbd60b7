#include "server/process_metrics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>

namespace hadal {
namespace {

TEST(ProcStat, ANameMayHoldSpacesAndParentheses) {
  const auto stat = ParseProcStat(
      "77 (a) 1 (b) S 1 2 3 4 5 6 7 8 9 10 110 220 13 14 20 0 9 0 5000 1048576 256 18446744073709551615 1");
  ASSERT_TRUE(stat) << stat.error().message;
  EXPECT_EQ(stat->user_ticks, 110u);
  EXPECT_EQ(stat->system_ticks, 220u);
  EXPECT_EQ(stat->threads, 9);
  EXPECT_EQ(stat->start_ticks, 5000u);
  EXPECT_EQ(stat->virtual_bytes, 1048576u);
  EXPECT_EQ(stat->resident_pages, 256);
  EXPECT_FALSE(ParseProcStat("77 hadal S 1"));
  EXPECT_FALSE(ParseProcStat("77 (hadal) S 1 2"));
}

TEST(ProcessStats, AreThoseOfThisProcess) {
  const ProcessStats before = ReadProcessStats();
  const int fd = ::open("/dev/null", O_RDONLY);
  EXPECT_EQ(ReadProcessStats().open_fds, before.open_fds + 1);
  ::close(fd);
  EXPECT_GE(before.max_fds, before.open_fds);
  EXPECT_GE(before.threads, 1);
  EXPECT_GE(before.resident_bytes, before.anonymous_bytes / 2);
  EXPECT_GT(before.virtual_bytes, before.resident_bytes);
  const double now = static_cast<double>(std::time(nullptr));
  EXPECT_LE(before.start_seconds, now + 2);
  EXPECT_GT(before.start_seconds, now - 86400);
}

}  // namespace
}  // namespace hadal
