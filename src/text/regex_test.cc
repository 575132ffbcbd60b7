#include "text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/utf8.h"

namespace hadal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The parts of `text`, matches in brackets.
std::string Marked(const Regex& regex, std::string_view text) {
  RegexRun run(text.size());
  std::vector<TextSpan> spans;
  if (const Status status = regex.Split(text, run, spans); !status) return "error: " + status.error().message;
  std::string out;
  for (const TextSpan& span : spans) {
    const std::string part(text.substr(span.begin, span.end - span.begin));
    out += span.matched ? "[" + part + "]" : part + "|";
  }
  return out;
}

std::string Marked(std::string_view pattern, std::string_view text) {
  return Marked(Regex::Compile(pattern).value(), text);
}

TEST(Regex, SplitsIntoMatchesAndWhatIsBetween) {
  EXPECT_EQ(Marked("b", "abcb"), "a|[b]c|[b]");
  EXPECT_EQ(Marked("b", ""), "");
  EXPECT_EQ(Marked("z", "abc"), "abc|");
  EXPECT_EQ(Marked("\\p{N}{1,3}", "1234a5"), "[123][4]a|[5]");
  EXPECT_EQ(Marked("\\s+(?!\\S)|\\s+", "a   b  "), "a|[  ][ ]b|[  ]");
}

TEST(Regex, KeepsEmptyMatchesExceptAfterAMatch) {
  EXPECT_EQ(Marked("a*", "baab"), "[]b|[aa]b|[]");
  EXPECT_EQ(Marked("", "é1"), "[]é|[]1|[]");
}

TEST(Regex, FindsAMatchBeyondTheSearchWindowAndInsideCharactersOfSeveralBytes) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "中";
  EXPECT_EQ(Marked("a", text + "a" + text), text + "|[a]" + text + "|");
}

TEST(Regex, LiteralTakesEveryCharacterAsItIs) {
  EXPECT_EQ(Marked(Regex::Literal("a.b").value(), "axba.b"), "axb|[a.b]");
  EXPECT_EQ(Marked(Regex::Literal("\\E[").value(), "a\\E[b"), "a|[\\E[]b|");
}

TEST(Regex, MeansWhatTheReferenceEngineMeans) {
  EXPECT_EQ(Marked("\\s", "a\u180eb\u3000c\u0085"),
            "a\u180eb|[\u3000]c|[\u0085]");  // PCRE2 alone: U+180E is \s
  EXPECT_EQ(Marked("[^\\s]+", "a\u180eb c"), "[a\u180eb] |[c]");
  EXPECT_EQ(Marked("[\\S]+", "a\u180eb c"), "[a\u180eb] |[c]");
  EXPECT_EQ(Marked("\\w+", "\u00b2\u00bd-"),
            "[\u00b2\u00bd]-|");  // so are the numbers of Latin-1, others not
  EXPECT_EQ(Marked("\\w+", "\u2460"), "\u2460|");
  EXPECT_EQ(Marked("(?i:'re|k)", "'RE\u212a"), "['RE][\u212a]");
  EXPECT_EQ(Marked("\\w+", "e\u0301\u203f-a"),
            "[e\u0301\u203f]-|[a]");                             // marks and connectors are word characters
  EXPECT_EQ(Marked("^a|b$", "a\nab\nb"), "[a]\n|[a][b]\n|[b]");  // line ends without asking
  EXPECT_EQ(Marked("a.", "a\nab"), "a\n|[ab]");
  EXPECT_EQ(Marked("\\h", "g f"), "g |[f]");  // a hexadecimal digit
  EXPECT_EQ(Marked("\\u0061", "ab"), "[a]b|");
  EXPECT_EQ(Marked("\\p{^L}|\\P{L}", "a1"), "a|[1]");
  EXPECT_EQ(Marked("\\p{Han}+", "中\u3001a"), "[中]\u3001a|");  // the script, not its extensions (U+3001)
  EXPECT_EQ(Marked("[]a]+", "]a["), "[]a][|");
}

// Characters of Unicode 15 and 16: a letter, a Han letter, a mark, a digit, a punctuation mark and a symbol.
TEST(Regex, KnowsCharactersNewerThanPcre) {
  constexpr std::string_view kText = "\u1c89\U00031350\U00010efd\U0001e4f0\u1b4e\u2427";
  EXPECT_EQ(Marked("\\p{L}+", kText), "[\u1c89\U00031350]\U00010efd\U0001e4f0\u1b4e\u2427|");
  EXPECT_EQ(Marked("\\P{L}+", kText), "\u1c89\U00031350|[\U00010efd\U0001e4f0\u1b4e\u2427]");
  EXPECT_EQ(Marked("[^\\p{L}\\p{M}]+", kText), "\u1c89\U00031350\U00010efd|[\U0001e4f0\u1b4e\u2427]");
  EXPECT_EQ(Marked("[\\p{P}\\p{S}]+", kText), "\u1c89\U00031350\U00010efd\U0001e4f0|[\u1b4e\u2427]");
  EXPECT_EQ(Marked("\\d|\\p{Han}", kText), "\u1c89|[\U00031350]\U00010efd|[\U0001e4f0]\u1b4e\u2427|");
  EXPECT_EQ(Marked("\\w+", kText), "[\u1c89\U00031350\U00010efd\U0001e4f0]\u1b4e\u2427|");
}

TEST(Regex, RefusesByNameWhatItCannotTranslate) {
  for (const auto& [pattern, name] : std::vector<std::pair<std::string, std::string>>{
           {"[a&&b]", "intersection"}, {"[a[b]]", "class inside"}, {"a{1,2}+", "interval"},
           {"a{2}?", "interval"},      {"a{,3}", "lower bound"},   {"(?m:.)", "group"},
           {"(?i)a", "group"},         {"\\bword", "'\\b'"},       {"\\p{Alpha}", "'Alpha'"},
           {"\\pL", "braces"},         {"\\x41", "braces"},        {"\\1", "'\\1'"},
           {"[\\W]", "\\W"},           {"[\\P{L}]", "negated"},    {"\\p{Cn}", "'Cn'"},
           {"(?i:ss)", "'(?i:'"},      {"(?i:é)", "'(?i:'"},       {"(*UTF)a", "verb"},
           {"\\K", "'\\K'"},           {"\\R", "'\\R'"},           {"\\Qa", "'\\Q'"},
           {"\\u12", "four"}}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.has_value()) << pattern;
    EXPECT_EQ(regex.error().code, Code::kUnsupported) << pattern;
    EXPECT_THAT(regex.error().message, HasSubstr(name)) << pattern;
  }
  for (const std::string pattern : {"(a", "a\\", "[a", "\\x{110000}", "+"})
    EXPECT_EQ(Regex::Compile(pattern).error().code, Code::kInvalidArgument) << pattern;
  EXPECT_FALSE(Regex::Compile(std::string(20000, 'a')).has_value());
}

std::string ErrorOf(std::string_view pattern, std::string_view text) {
  const std::string out = Marked(pattern, text);
  return out.starts_with("error: ") ? out : "no error";
}

// The classes at the ends keep PCRE2 from seeing at once that a needed letter is missing.
TEST(Regex, StopsPatternsThatBacktrackWithoutEnd) {
  EXPECT_THAT(ErrorOf("(a+)+[bc]", std::string(60, 'a')),
              HasSubstr("the pattern '(a+)+[bc]' cannot be used"));
  EXPECT_THAT(ErrorOf("(a|aa)*[bc]", std::string(5000, 'a')), HasSubstr("cannot be used"));
}

TEST(Regex, StopsPatternsThatTakeTheSquareOfTheText) {
  EXPECT_THAT(ErrorOf("(?:a|b)*[cd]", std::string(20000, 'a')), HasSubstr("takes too long"));
}

TEST(Regex, LongRunsOfOneKindAreFine) {
  const std::string spaces(1 << 20, ' ');
  EXPECT_EQ(Marked("\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", spaces), "[" + spaces + "]");
}

}  // namespace
}  // namespace hadal
