#include "text/added_tokens.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

// The segments as text: added tokens as {id:text}, the rest in quotes.
std::string Segments(std::vector<AddedToken> tokens, std::string_view text) {
  const AddedTokens added = AddedTokens::Create(std::move(tokens)).value();
  RegexRun run(text.size());
  const std::vector<Segment> segments = added.Split(text, run).value();
  std::string out;
  for (const Segment& segment : segments)
    out += segment.id < 0 ? fmt::format("'{}'", segment.text)
                          : fmt::format("{{{}:{}}}", segment.id, segment.text);
  return out;
}

TEST(AddedTokens, LeftmostThenLongest) {
  const std::vector<AddedToken> tokens{{.content = "<a", .id = 1},
                                       {.content = "<a>", .id = 2},
                                       {.content = "a>b", .id = 3},
                                       {.content = "a", .id = 4}};
  EXPECT_EQ(Segments(tokens, ""), "");
  EXPECT_EQ(Segments(tokens, "x<a>b"), "'x'{2:<a>}'b'");
  EXPECT_EQ(Segments(tokens, "<ab<a"), "{1:<a}'b'{1:<a}");
  EXPECT_EQ(Segments(tokens, "a>ba>"), "{3:a>b}{4:a}'>'");
  EXPECT_EQ(Segments({}, "plain"), "'plain'");
}

TEST(AddedTokens, TokensThatAreNotNormalizedGoFirst) {
  const std::vector<AddedToken> tokens{{.content = "ab", .id = 1, .normalized = true},
                                       {.content = "bc", .id = 2, .normalized = false}};
  EXPECT_EQ(Segments(tokens, "abcab"), "'a'{2:bc}{1:ab}");
}

TEST(AddedTokens, SingleWordStandsAlone) {
  const std::vector<AddedToken> tokens{{.content = "the", .id = 1, .single_word = true}};
  EXPECT_EQ(Segments(tokens, "the the. other them \u00e9the the\u0301 the\u200d the_ the"),
            "{1:the}' '{1:the}'. other them \u00e9the the\u0301 the\u200d the_ '{1:the}");
  EXPECT_EQ(Segments(tokens, "\u00bdthe\u00b2"), "'\u00bd'{1:the}'\u00b2'");
}

TEST(AddedTokens, StripTakesWhiteSpaceAlong) {
  const std::vector<AddedToken> tokens{{.content = "<l>", .id = 1, .lstrip = true},
                                       {.content = "<r>", .id = 2, .rstrip = true}};
  EXPECT_EQ(Segments(tokens, "a \u3000\n<l> b"), "'a'{1: \u3000\n<l>}' b'");
  EXPECT_EQ(Segments(tokens, "a <r> \t\u00a0b"), "'a '{2:<r> \t\u00a0}'b'");
  EXPECT_EQ(Segments(tokens, "<r>  <l>"), "{2:<r>  }{1:<l>}");  // the first of them has the blanks
}

// A token of white space that the token before took along is gone, as in the reference.
TEST(AddedTokens, StripCanTakeAnotherTokenAlong) {
  const std::vector<AddedToken> tokens{{.content = "<r>", .id = 1, .rstrip = true},
                                       {.content = " ", .id = 2, .lstrip = true, .rstrip = true}};
  EXPECT_EQ(Segments(tokens, "<r>  b b"), "{1:<r>  }'b'{2: }'b'");
}

}  // namespace
}  // namespace hadal
