#include "engine/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace hadal {
namespace {

StopStrings Make(std::vector<std::string> stops) { return StopStrings::Create(std::move(stops)).value(); }

struct Whole {
  std::string text;
  int32_t stop_index = -1;
  bool operator==(const Whole&) const = default;
};

Whole PushAll(StopStrings& stops, const std::vector<std::string>& pieces) {
  Whole whole;
  for (const std::string& piece : pieces) {
    const StopStrings::Out out = stops.Push(piece);
    EXPECT_EQ(out.stopped, out.stop_index >= 0);
    whole.text += out.text;
    whole.stop_index = out.stop_index;
  }
  whole.text += stops.Flush();
  return whole;
}

/// The rule itself, by trying every end and every stop string.
Whole Reference(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    Whole found;
    size_t longest = 0;
    for (size_t i = 0; i < stops.size(); ++i) {
      const std::string& stop = stops[i];
      if (stop.size() <= longest || stop.size() > end) continue;
      if (text.compare(end - stop.size(), stop.size(), stop) != 0) continue;
      longest = stop.size();
      found = {text.substr(0, end - longest), static_cast<int32_t>(i)};
    }
    if (longest > 0) return found;
  }
  return {text, -1};
}

TEST(StopStrings, HoldsBackOnlyAPossibleBeginning) {
  StopStrings stops = Make({"\n\nUser:"});
  EXPECT_EQ(stops.Push("Hello.\n").text, "Hello.");
  EXPECT_EQ(stops.Push("\nUs").text, "");
  EXPECT_EQ(stops.Push("ually").text, "\n\nUsually");
  EXPECT_EQ(stops.Push("\n\n\n").text, "\n");  // the last two may still begin it
  EXPECT_EQ(stops.Push("User").text, "");
  const StopStrings::Out out = stops.Push(": hi");
  EXPECT_EQ(out.text, "");
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.stop_index, 0);
  EXPECT_TRUE(stops.Push("more").stopped);
  EXPECT_EQ(stops.Push("more").text, "");
  EXPECT_EQ(stops.Flush(), "");
}

TEST(StopStrings, FlushReleasesWhatWasHeldAndStartsAnew) {
  StopStrings stops = Make({"abc"});
  EXPECT_EQ(stops.Push("xab").text, "x");
  EXPECT_EQ(stops.Flush(), "ab");
  const StopStrings::Out out = stops.Push("c");  // would be complete if the old text still counted
  EXPECT_FALSE(out.stopped);
  EXPECT_EQ(out.text, "c");
  EXPECT_TRUE(stops.Push("abc").stopped);
  stops.Flush();
  EXPECT_EQ(stops.Push("y").text, "y");
}

TEST(StopStrings, EarliestEndThenLongest) {
  StopStrings end_first = Make({"abcd", "bc"});
  EXPECT_EQ(PushAll(end_first, {"xabcd"}), (Whole{"xa", 1}));
  StopStrings longest = Make({"c", "abc", "bc"});
  EXPECT_EQ(PushAll(longest, {"x", "a", "b", "c"}), (Whole{"x", 1}));
}

TEST(StopStrings, NoStopStringsHoldsNothing) {
  StopStrings stops = Make({});
  const StopStrings::Out out = stops.Push("anything");
  EXPECT_EQ(out.text, "anything");
  EXPECT_FALSE(out.stopped);
}

TEST(StopStrings, WholeCharactersInGiveWholeCharactersOut) {
  StopStrings stops = Make({"\xC3\xA9\xC3\xAA"});  // two characters that share their first byte
  EXPECT_EQ(stops.Push("\xC3\xA8").text, "\xC3\xA8");
  EXPECT_EQ(stops.Push("\xC3\xA9").text, "");
  EXPECT_EQ(stops.Push("\xC3\xA9").text, "\xC3\xA9");
  EXPECT_TRUE(stops.Push("\xC3\xAA").stopped);
}

TEST(StopStrings, AnyCutGivesTheReferenceOutput) {
  std::mt19937_64 random(7);
  const auto text_of = [&](size_t length, int letters) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % letters);
    return text;
  };
  int stopped = 0;
  for (int round = 0; round < 3000; ++round) {
    const int letters = 2 + static_cast<int>(random() % 2);
    std::vector<std::string> list;
    for (size_t i = random() % 4 + 1; i > 0; --i) list.push_back(text_of(random() % 7 + 1, letters));
    const std::string text = text_of(random() % 40, letters);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t length = random() % 6;  // empty pieces too
      pieces.push_back(text.substr(at, length));
      at += length;
    }
    const Whole want = Reference(list, text);
    stopped += want.stop_index >= 0;
    StopStrings cut = Make(list), at_once = Make(list);
    ASSERT_EQ(PushAll(cut, pieces), want) << text;
    ASSERT_EQ(PushAll(at_once, {text}), want) << text;
  }
  EXPECT_GT(stopped, 500);
  EXPECT_LT(stopped, 2900);
}

TEST(StopStrings, RefusesTooManyEmptyAndTooLong) {
  EXPECT_FALSE(StopStrings::Create(std::vector<std::string>(65, "x")).has_value());
  EXPECT_FALSE(StopStrings::Create({""}).has_value());
  EXPECT_FALSE(StopStrings::Create({std::string(1025, 'x')}).has_value());
  EXPECT_TRUE(StopStrings::Create(std::vector<std::string>(64, std::string(1024, 'x'))).has_value());
}

}  // namespace
}  // namespace hadal
