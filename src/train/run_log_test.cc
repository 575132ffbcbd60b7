#include "train/run_log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "train/loss_curve.h"
#include "train/run_lock.h"

namespace hadal::train {
namespace {

class RunLogTest : public testing::Test {
 protected:
  RunLogTest() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-runlog-XXXXXX").string();
    out_ = mkdtemp(name.data());
  }
  ~RunLogTest() override { std::filesystem::remove_all(out_); }

  std::string Text() const { return ReadFile(out_ / "log.jsonl").value(); }
  static RunProgress Progress(int64_t step, double loss) {
    RunProgress p;
    p.report.step = step;
    p.report.loss = loss;
    return p;
  }

  Path out_;
};

TEST_F(RunLogTest, KeepsWhatIsOfItsUpdatesAndDropsTheRest) {
  const std::string first = "{\"step\":1,\"loss\":3.5}\n", evaluated = "{\"evaluated_at\":2,\"loss\":3}\n";
  std::ofstream(out_ / "log.jsonl") << first << "no line of ours\n[]\n" << std::string(200'000, 'x') << "\n"
                                    << std::string(3, '\0') << "\n" << evaluated << "{\"step\":3,\"loss\":2}\n"
                                    << "{\"step\":2,\"lo";
  ASSERT_TRUE(RunLog::Open(out_, 2));
  EXPECT_EQ(Text(), first + evaluated);
}

TEST_F(RunLogTest, DrawsWhatTheFileHolds) {
  RunLog log = RunLog::Open(out_, 0).value();
  for (int64_t step = 1; step <= 3000; ++step) ASSERT_TRUE(log.Add(Progress(step, 8.0 / static_cast<double>(step))));
  ASSERT_TRUE(log.Add(Progress(3001, NAN)));
  ASSERT_TRUE(log.Add(Evaluation{.loss = 0.5, .step = 3000}));
  ASSERT_TRUE(log.Draw());
  const std::string svg = ReadFile(out_ / "loss.svg").value();
  EXPECT_NE(svg.find("held out"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST_F(RunLogTest, ALineThatTheDiskDoesNotTakeLeavesNoHalf) {
  const pid_t child = fork();
  if (child == 0) {
    RunLog log = RunLog::Open(out_, 0).value();
    // As on a disk that is full in the midst of a line.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    int64_t step = 0;
    while (log.Add(Progress(++step, 1))) {
    }
    _exit(log.Add(Progress(step, 1)) ? 1 : static_cast<int>(step));
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  const int failed_at = WEXITSTATUS(status);
  ASSERT_GT(failed_at, 1);
  EXPECT_EQ(Text().back(), '\n');
  // What is there is whole, and goes on.
  RunLog log = RunLog::Open(out_, 1'000'000).value();
  ASSERT_TRUE(log.Add(Progress(failed_at, 1)));
  const std::string text = Text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), failed_at);
}

TEST(Curve, HasABoundAndKeepsItsMean) {
  Curve curve;
  constexpr int64_t kAdded = 1'000'000;
  for (int64_t i = 0; i < kAdded; ++i) curve.Add(static_cast<double>(i), 2.0 * static_cast<double>(i));
  curve.Add(1, NAN);
  const auto points = curve.points();
  EXPECT_LE(points.size(), Curve::kMostPoints);
  EXPECT_GE(points.size(), Curve::kMostPoints / 2);
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].second, 2 * points[i].first);
    if (i > 0) EXPECT_GT(points[i].first, points[i - 1].first);
  }
  EXPECT_GT(points.back().first, 0.99 * kAdded);
}

TEST_F(RunLogTest, OneRunAtATimeHoldsTheFolder) {
  {
    const auto lock = RunLock::Take(out_ / "run");
    ASSERT_TRUE(lock) << lock.error().message;
    const auto other = RunLock::Take(out_ / "run");
    ASSERT_FALSE(other);
    EXPECT_NE(other.error().message.find("another run is writing to"), std::string::npos) << other.error().message;
  }
  EXPECT_TRUE(RunLock::Take(out_ / "run"));
}

}  // namespace
}  // namespace hadal::train
