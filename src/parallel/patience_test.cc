#include "parallel/patience.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "parallel/flight_recorder.h"

namespace hadal {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class PatienceTest : public testing::Test {
 protected:
  PatienceTest() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-patience-XXXXXX").string();
    options_.flight_dir = mkdtemp(name.data());
    options_.limit = seconds(8);
  }
  ~PatienceTest() override { std::filesystem::remove_all(options_.flight_dir); }

  FlightRecorder Record(int rank) { return FlightRecorder::Create(options_.flight_dir, rank).value(); }
  Patience Begin(bool recorded = true) { return {options_, 0, 2, recorded, start_}; }

  LaunchOptions options_;
  const Patience::Clock::time_point start_ = Patience::Clock::now();
};

TEST_F(PatienceTest, EndsAtTheLimit) {
  FlightRecorder own = Record(0), other = Record(1);
  other.Enter("gradients");
  Patience patience = Begin();
  for (int s = 1; s <= 8; ++s) EXPECT_FALSE(patience.Exhausted(start_ + seconds(s))) << s;
  EXPECT_EQ(patience.Exhausted(start_ + milliseconds(8001)).value_or(""), "waited 8.0 s");
}

TEST_F(PatienceTest, DoesNotCountAnnouncedWorkNorWhatComesRightAfterIt) {
  FlightRecorder own = Record(0), other = Record(1);
  other.Work("export");
  Patience patience = Begin();
  for (int s = 1; s <= 100; ++s) ASSERT_FALSE(patience.Exhausted(start_ + seconds(s))) << s;
  other.Leave();
  EXPECT_FALSE(patience.Exhausted(start_ + seconds(107)));
  EXPECT_TRUE(patience.Exhausted(start_ + seconds(109)));
}

TEST_F(PatienceTest, EndsAtOnceWhereARankIsGone) {
  FlightRecorder own = Record(0);
  const pid_t child = fork();
  if (child == 0) {
    Record(1).Work("export");
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  Patience patience = Begin();
  EXPECT_EQ(patience.Exhausted(start_ + seconds(2)).value_or(""), "waited 2.0 s");
  EXPECT_NE(FlightRecorder::DescribeMissing(options_.flight_dir, 2, 0).find("is gone: its last operation was 'export'"),
            std::string::npos);
  // Records of an earlier run say nothing.
  Patience early = Begin(/*recorded=*/false);
  EXPECT_FALSE(early.Exhausted(start_ + seconds(2)));
  EXPECT_TRUE(early.Exhausted(start_ + seconds(9)));
}

TEST_F(PatienceTest, LooksAtOnceWhenToldToEndAndGoesOnWhereAllLive) {
  FlightRecorder own = Record(0);
  bool told = false;
  options_.told_to_end = [&] { return told; };
  const pid_t child = fork();
  if (child == 0) {
    Record(1).Enter("gradients");
    for (;;) pause();
  }
  while (!FlightRecorder::Read(options_.flight_dir, 1) ||
         FlightRecorder::Read(options_.flight_dir, 1)->operation != "gradients")
    usleep(1000);
  Patience patience = Begin();
  told = true;
  EXPECT_FALSE(patience.Exhausted(start_ + milliseconds(1)));
  EXPECT_FALSE(patience.Exhausted(start_ + milliseconds(60)));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(patience.Exhausted(start_ + milliseconds(120)).value_or(""), "was told to end, and waited 0.1 s");
}

}  // namespace
}  // namespace hadal
