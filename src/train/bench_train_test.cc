#include "train/bench_train.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/parameters.h"

namespace hadal::train {
namespace {

BenchTrainOptions Quick() {
  BenchTrainOptions o;
  o.shape = "v3-tiny";
  o.sequence_length = 16;
  o.micro_batch_size = 2;
  o.threads = 2;
  o.repeat = 3;
  return o;
}

TEST(BenchTrain, ReportsItsStepsAndWhereTheirTimeWent) {
  const Result<BenchTrainReport> r = BenchTrain(Quick());
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_GT(r->tokens_per_second.min, 0);
  EXPECT_LE(r->tokens_per_second.min, r->tokens_per_second.median);
  EXPECT_GT(r->share, 0);
  EXPECT_GT(r->loss, 1);
  for (size_t p = 0; p < r->parts.size(); ++p) EXPECT_GT(r->parts[p], 0) << kPartNames[p];
  const auto json = nlohmann::json::parse(BenchTrainJson(*r));
  EXPECT_EQ(json["shape"], "v3-tiny");
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["limits"]["samples"].size(), 2);
  EXPECT_EQ(json["parts"].size(), kPartNames.size());
  EXPECT_EQ(json["limit"], r->limits.bf16_gflops > 0 ? "bf16" : "f32");
  EXPECT_NE(BenchTrainTable(*r).find("share of peak"), std::string::npos);
}

TEST(BenchTrain, TheMiniatureHasAboutTwentyMillionParameters) {
  const ModelConfig c = BenchShape("train-20m").value();
  EXPECT_EQ(CountParameters(c).main, 21'790'800);  // 80 of them router biases
  EXPECT_FALSE(BenchShape("train-20g"));
}

TEST(BenchTrain, StopsWhenAskedAndRefusesWhatDoesNotFit) {
  BenchTrainOptions o = Quick();
  o.progress = [](int64_t done, int64_t) { return done < 2; };
  EXPECT_EQ(BenchTrain(o).error().code, Code::kCancelled);
  o = Quick();
  o.sequence_length = int64_t{1} << 40;
  EXPECT_EQ(BenchTrain(o).error().code, Code::kInvalidArgument);
  o = Quick();
  o.shape = "deepseek-v3";
  EXPECT_EQ(BenchTrain(o).error().code, Code::kResourceExhausted);
}

TEST(PartClock, TheOutermostPartCounts) {
  PartClock clock;
  const auto wait = [] {
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(2)) {
    }
  };
  clock.Reset();
  {
    const PartClock::Scope head(&clock, StepPart::kHead);
    const PartClock::Scope linear(&clock, StepPart::kLinears);
    wait();
  }
  wait();
  const PartClock::Seconds& s = clock.seconds();
  EXPECT_GE(s[static_cast<size_t>(StepPart::kHead)], 0.002);
  EXPECT_EQ(s[static_cast<size_t>(StepPart::kLinears)], 0);
  EXPECT_GE(s[static_cast<size_t>(StepPart::kRest)], 0.002);
  const PartClock::Scope nobody(nullptr, StepPart::kHead);
}

}  // namespace
}  // namespace hadal::train
