#include "ops/sse_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hadal {
namespace {

using Events = std::vector<std::string>;

Events Parse(const std::vector<std::string_view>& parts) {
  SseParser parser;
  Events events;
  for (const std::string_view part : parts) {
    const Status fed = parser.Feed(part, [&](std::string_view data) {
      events.emplace_back(data);
      return true;
    });
    EXPECT_TRUE(fed) << fed.error().message;
  }
  return events;
}

TEST(SseParser, AnySplitOfTheStreamGivesTheSameEvents) {
  const std::string stream =
      ": a comment\n\ndata: {\"a\":1}\n\nevent: x\ndata:no blank\r\n\r\nid: 3\rdata: first\rdata:  second\r\r"
      "data\n\nretry: 5\n\ndata:\n\ndata: \xe6\xb7\xb1\n\ndata: [DONE]\n\ndata: never ended";
  const Events whole = Parse({stream});
  const Events expected = {"{\"a\":1}", "no blank", "first\n second", "", "\xe6\xb7\xb1", "[DONE]"};
  ASSERT_EQ(whole, expected);
  for (size_t a = 0; a <= stream.size(); ++a) {
    const std::string_view view = stream;
    EXPECT_EQ(Parse({view.substr(0, a), view.substr(a)}), expected) << a;
    for (size_t b = a; b <= stream.size(); b += 7)
      ASSERT_EQ(Parse({view.substr(0, a), view.substr(a, b - a), view.substr(b)}), expected) << a << " " << b;
  }
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < stream.size(); ++i) bytes.push_back(std::string_view(stream).substr(i, 1));
  EXPECT_EQ(Parse(bytes), expected);
}

TEST(SseParser, SaysWhetherAnEventIsOpen) {
  SseParser parser;
  const auto ignore = [](std::string_view) { return true; };
  ASSERT_TRUE(parser.Feed("data: x\n", ignore));
  EXPECT_TRUE(parser.inside_event());
  ASSERT_TRUE(parser.Feed("\n", ignore));
  EXPECT_FALSE(parser.inside_event());
}

TEST(SseParser, StopsWhereItsListenerStops) {
  SseParser parser;
  int seen = 0;
  ASSERT_TRUE(parser.Feed("data: 1\n\ndata: 2\n\n", [&](std::string_view) { return ++seen < 1; }));
  EXPECT_EQ(seen, 1);
}

TEST(SseParser, AnEventThatNeverEndsIsRefusedInBoundedMemory) {
  SseParser parser;
  const std::string part(1 << 20, 'x');
  Status fed;
  int parts = 0;
  for (; fed && parts < 16; ++parts) fed = parser.Feed(part, [](std::string_view) { return true; });
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Code::kResourceExhausted);
  EXPECT_LE(parts, 5);
}

}  // namespace
}  // namespace hadal
