#include "ops/prompts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "ops/metrics_text.h"
#include "ops/soak.h"
#include "ops/soak_visit.h"

namespace hadal {
namespace {

TEST(Prompts, LengthsAreReadAndDrawnWithinTheirRange) {
  EXPECT_EQ(ParseLengthRange("512")->most, 512);
  EXPECT_EQ(ParseLengthRange("3-7")->least, 3);
  for (const char* bad : {"", "0", "-3", "7-3", "3-", "x", "5 ", "3-99999999"})
    EXPECT_FALSE(ParseLengthRange(bad)) << bad;
  const PromptOptions options{.input = {3, 7}, .output = {1, 1}, .seed = 5};
  std::set<int64_t> seen;
  for (uint64_t i = 0; i < 200; ++i) {
    seen.insert(LengthsOf(options, i).input);
    EXPECT_EQ(LengthsOf(options, i).output, 1);
  }
  EXPECT_EQ(seen, (std::set<int64_t>{3, 4, 5, 6, 7}));
}

TEST(Prompts, DifferFromEachOtherAndShareWhatIsAsked) {
  std::vector<int32_t> alphabet;
  for (int32_t id = 100; id < 140; ++id) alphabet.push_back(id);
  const PromptOptions options{.shared_prefix = 16, .seed = 9};
  const auto a = PromptIds(options, 0, 64, alphabet), b = PromptIds(options, 1, 64, alphabet);
  EXPECT_EQ(a, PromptIds(options, 0, 64, alphabet));
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + 16, b.begin()));
  EXPECT_FALSE(std::equal(a.begin() + 16, a.end(), b.begin() + 16));
  for (const int32_t id : a) EXPECT_TRUE(id >= 100 && id < 140);
  EXPECT_NE(PromptIds({.seed = 1}, 0, 64, alphabet), PromptIds({.seed = 2}, 0, 64, alphabet));
  EXPECT_NE(PromptText(options, 0, 20, 0), PromptText(options, 1, 20, 0));
  EXPECT_EQ(PromptText(options, 0, 5, 5), PromptText(options, 1, 5, 5));
  const std::string text = PromptText(options, 0, 20, 0);
  EXPECT_EQ(std::ranges::count(text, ' '), 19);
}

TEST(MetricsText, SumsSeriesByNameAndPart) {
  const MetricsText metrics(
      "# HELP a A thing.\na 3\na_total{x=\"1\"} 4\na_total{x=\"2 }\\\" \"} 5.5\nbroken\nb{ 1\nc +Inf\n");
  EXPECT_EQ(metrics.Sum("a"), 3);
  EXPECT_EQ(metrics.Sum("a_total"), 9.5);
  EXPECT_EQ(metrics.Sum("a_total", "x=\"1\""), 4);
  EXPECT_EQ(metrics.Sum("missing"), std::nullopt);
  EXPECT_EQ(metrics.Sum("broken"), std::nullopt);
}

TEST(Soak, TheLineThroughSamplesHasTheirSlope) {
  EXPECT_EQ(SlopeOf({}), 0);
  EXPECT_EQ(SlopeOf({{1, 5}}), 0);
  EXPECT_DOUBLE_EQ(SlopeOf({{0, 1}, {1, 3}, {2, 5}}), 2);
  EXPECT_NEAR(SlopeOf({{0, 1}, {1, -1}, {2, -1}, {3, 1}}), 0, 1e-12);
}

TEST(Soak, EveryKindOfVisitorComes) {
  std::set<VisitKind> seen;
  for (uint64_t i = 0; i < 2000; ++i) seen.insert(DrawVisit(0, i));
  EXPECT_EQ(seen.size(), static_cast<size_t>(kVisitKinds));
  EXPECT_EQ(DrawVisit(3, 17), DrawVisit(3, 17));
}

}  // namespace
}  // namespace hadal
