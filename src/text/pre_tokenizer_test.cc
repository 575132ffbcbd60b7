#include "text/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

SplitStep Step(std::string_view pattern, SplitBehavior behavior, bool invert = false) {
  return {Regex::Compile(pattern).value(), behavior, invert};
}

std::vector<std::string> Split(std::vector<SplitStep> steps, std::string_view text, ByteLevelStep last = {}) {
  const PreTokenizer pre_tokenizer(std::move(steps), std::move(last));
  RegexRun run(text.size());
  PreTokenizer::Pieces pieces;
  EXPECT_TRUE(pre_tokenizer.Split(text, run, pieces).has_value());
  return {pieces.views.begin(), pieces.views.end()};
}

std::vector<std::string> SplitOne(SplitBehavior behavior, std::string_view text, bool invert = false) {
  std::vector<SplitStep> steps;
  steps.push_back(Step("-", behavior, invert));
  return Split(std::move(steps), text);
}

// The examples of the reference's documentation, "the-final--countdown".
TEST(PreTokenizer, Behaviors) {
  constexpr std::string_view kText = "the-final--countdown";
  EXPECT_THAT(SplitOne(SplitBehavior::kRemoved, kText), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(SplitOne(SplitBehavior::kIsolated, kText),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(SplitOne(SplitBehavior::kMergedWithPrevious, kText),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(SplitOne(SplitBehavior::kMergedWithNext, kText),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(SplitOne(SplitBehavior::kContiguous, kText),
              ElementsAre("the", "-", "final", "--", "countdown"));
}

TEST(PreTokenizer, InvertMakesTheStretchesBetweenTheDelimiters) {
  EXPECT_THAT(SplitOne(SplitBehavior::kRemoved, "ab-c--", /*invert=*/true), ElementsAre("-", "-", "-"));
  EXPECT_THAT(SplitOne(SplitBehavior::kMergedWithPrevious, "-ab-", true), ElementsAre("-ab", "-"));
}

TEST(PreTokenizer, EmptyAndRemovedTexts) {
  EXPECT_THAT(SplitOne(SplitBehavior::kIsolated, ""), IsEmpty());
  EXPECT_THAT(SplitOne(SplitBehavior::kRemoved, "--"), IsEmpty());
}

// The blanks before the 1 end their piece once the digit is cut off, so the look-ahead must not see it.
TEST(PreTokenizer, EachStepSeesOnlyItsPiece) {
  std::vector<SplitStep> steps;
  steps.push_back(Step("\\p{N}", SplitBehavior::kIsolated));
  steps.push_back(Step("\\s+(?!\\S)|\\s+|\\p{L}+", SplitBehavior::kIsolated));
  EXPECT_THAT(Split(std::move(steps), "a  1  b"), ElementsAre("a", "  ", "1", " ", " ", "b"));
  std::vector<SplitStep> behind;
  behind.push_back(Step("1", SplitBehavior::kIsolated));
  behind.push_back(Step("(?<=1)b", SplitBehavior::kIsolated));
  EXPECT_THAT(Split(std::move(behind), "1bc"), ElementsAre("1", "bc"));
}

TEST(PreTokenizer, ByteLevelPutsABlankBeforeEachPieceAndSplits) {
  std::vector<SplitStep> steps;
  steps.push_back(Step("-", SplitBehavior::kRemoved));
  EXPECT_THAT(Split(std::move(steps), "ab- c-d", {true, std::nullopt}), ElementsAre(" ab", " c", " d"));
  EXPECT_THAT(Split({}, "I'll go", {true, Regex::Compile(kGpt2Pattern).value()}),
              ElementsAre(" I", "'ll", " go"));
}

}  // namespace
}  // namespace hadal
