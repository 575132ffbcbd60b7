#include "text/output_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "text/utf8.h"

namespace hadal {
namespace {

constexpr OutputFormat kPlain{};
constexpr OutputFormat kV3{.reasoning = false, .tools = ToolCallFormat::kDeepSeekV3};
constexpr OutputFormat kR1{.reasoning = true, .tools = ToolCallFormat::kDeepSeekV3};
constexpr OutputFormat kV31{.reasoning = true, .tools = ToolCallFormat::kDeepSeekV31};

const std::string kCalls = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>";
const std::string kCall = "<｜tool▁call▁begin｜>", kCallEnd = "<｜tool▁call▁end｜>", kSep = "<｜tool▁sep｜>";

void Add(OutputParser::Delta piece, OutputParser::Delta& all) {
  all.reasoning += piece.reasoning;
  all.content += piece.content;
  for (ToolCall& call : piece.calls) all.calls.push_back(std::move(call));
}

OutputParser::Delta Parse(const OutputParser::Options& options, const std::vector<std::string_view>& pieces) {
  OutputParser parser(options);
  OutputParser::Delta all;
  for (const std::string_view piece : pieces) Add(parser.Push(piece), all);
  Add(parser.Finish(), all);
  return all;
}

OutputParser::Delta Parse(const OutputParser::Options& options, std::string_view text) {
  return Parse(options, std::vector<std::string_view>{text});
}

void Expect(const OutputParser::Delta& got, std::string_view reasoning, std::string_view content,
            const std::vector<ToolCall>& calls = {}) {
  EXPECT_EQ(got.reasoning, reasoning);
  EXPECT_EQ(got.content, content);
  ASSERT_EQ(got.calls.size(), calls.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(got.calls[i].name, calls[i].name);
    EXPECT_EQ(got.calls[i].arguments, calls[i].arguments);
  }
}

std::string Fenced(std::string_view name, std::string_view arguments) {
  return kCall + "function" + kSep + std::string(name) + "\n```json\n" + std::string(arguments) + "\n```" +
         kCallEnd;
}

TEST(OutputParser, FormatIsThatOfTheTemplate) {
  const auto detect = [](const char* name) {
    return DetectOutputFormat(ReadFile(Path(HADAL_TEST_DATA) / "tokenizer/templates" / name).value());
  };
  EXPECT_EQ(detect("deepseek-v3.jinja").tools, ToolCallFormat::kDeepSeekV3);
  EXPECT_FALSE(detect("deepseek-v3.jinja").reasoning);
  EXPECT_EQ(detect("deepseek-r1.jinja").tools, ToolCallFormat::kDeepSeekV3);
  EXPECT_TRUE(detect("deepseek-r1.jinja").reasoning);
  EXPECT_TRUE(detect("deepseek-r1-early.jinja").reasoning);
  EXPECT_EQ(detect("deepseek-v3.1.jinja").tools, ToolCallFormat::kDeepSeekV31);
  EXPECT_TRUE(detect("deepseek-v3.1.jinja").reasoning);
  EXPECT_EQ(DetectOutputFormat("{{ messages[0].content }}").tools, ToolCallFormat::kNone);
  EXPECT_FALSE(DetectOutputFormat("{{ messages[0].content }}").reasoning);
}

TEST(OutputParser, PromptsThatOpenAThinkBlock) {
  EXPECT_TRUE(EndsInsideThinking("<｜Assistant｜><think>"));
  EXPECT_TRUE(EndsInsideThinking("<｜Assistant｜><think>\n"));
  EXPECT_FALSE(EndsInsideThinking("<｜Assistant｜></think>"));
  EXPECT_FALSE(EndsInsideThinking("<｜Assistant｜>"));
  EXPECT_FALSE(EndsInsideThinking(""));
}

TEST(OutputParser, Reasoning) {
  const OutputParser::Options open{kR1}, inside{kV31, /*inside_thinking=*/true};
  Expect(Parse(open, "<think>\nso\n\nit is\n</think>\n\nHi\n"), "so\n\nit is", "Hi\n");
  Expect(Parse(open, "\n <think>a</think>b</think>c"), "a", "b</think>c");
  Expect(Parse(open, "no <think>a</think>"), "", "no <think>a</think>");
  Expect(Parse(open, " \nplain"), "", " \nplain");
  Expect(Parse(open, " <thin"), "", " <thin");
  Expect(Parse(inside, "\na\n</thin"), "a\n</thin", "");
  Expect(Parse(inside, "a\n\n"), "a\n\n", "");
  Expect(Parse(inside, "</think>\n\n"), "", "");
  Expect(Parse(inside, "</think>x"), "", "x");
  Expect(Parse({kV3, true}, "<think>a</think>b"), "", "<think>a</think>b");
}

TEST(OutputParser, ToolCalls) {
  const std::string v3 = "Let me look." + kCalls + Fenced("weather", R"({"city": "Bern"})") + "\n" +
                         Fenced("now", "{}") + kCallsEnd;
  Expect(Parse({kV3}, v3), "", "Let me look.", {{"weather", R"({"city": "Bern"})"}, {"now", "{}"}});
  Expect(Parse({kV3, false, /*parse_tools=*/false}, v3), "", v3);
  Expect(Parse({kPlain}, v3), "", v3);

  const std::string v31 = kCalls + kCall + "f" + kSep + R"({"a": "```json"})" + kCallEnd + kCall + "g" +
                          kSep + "{}" + kCallEnd + kCallsEnd;
  Expect(Parse({kV31, true}, "hm</think>" + v31), "hm", "", {{"f", R"({"a": "```json"})"}, {"g", "{}"}});
  Expect(Parse({kV31}, v31 + " then " + v31), "", " then ",
         {{"f", R"({"a": "```json"})"}, {"g", "{}"}, {"f", R"({"a": "```json"})"}, {"g", "{}"}});
  Expect(Parse({kV31}, kCalls + kCall + "f" + kSep + "{}" + kCallEnd + "\n"), "", "", {{"f", "{}"}});
  // Reasoning is not searched for calls.
  Expect(Parse({kV31, true}, v31), v31, "");
}

TEST(OutputParser, MarkupThatIsNotWellFormedIsContent) {
  const std::string good = kCall + "f" + kSep + "{}" + kCallEnd;
  for (const std::string& text : {
           kCalls,
           kCalls + kCallsEnd,
           kCalls + "  " + kCallsEnd + "after",
           kCalls + kCall,
           kCalls + kCall + "f" + kSep + R"({"a":)",
           kCalls + kCall + "f" + kCallEnd + kCallsEnd,
           kCalls + kCall + kSep + "{}" + kCallEnd,
           kCalls + kCall + "two words" + kSep + "{}" + kCallEnd,
           kCalls + kCall + "f" + kSep + "{}" + kSep + kCallEnd,
           kCalls + kCall + "f" + good,
           kCalls + "text" + good + kCallsEnd,
           kCalls + kCalls + "x",
           good + kCallsEnd,
           std::string("<｜tool▁calls"),
       })
    Expect(Parse({kV31}, text), "", text);
  Expect(Parse({kV31}, kCalls + good + kCall + "g"), "", kCall + "g", {{"f", "{}"}});
  Expect(Parse({kV31}, kCalls + good + " and " + good), "", " and " + good, {{"f", "{}"}});
  // V3's form needs the type and the fence.
  for (const std::string& text : {kCalls + good, kCalls + kCall + "function" + kSep + "f\n{}" + kCallEnd,
                                  kCalls + kCall + "function" + kSep + "f\n```json" + kCallEnd,
                                  kCalls + kCall + "function" + kSep + "f" + kCallEnd,
                                  kCalls + kCall + "code" + kSep + "f\n```json\n{}\n```" + kCallEnd})
    Expect(Parse({kV3}, text), "", text);
}

/// A text of markers, parts of markers, well-formed calls and other text in random order.
std::string RandomText(std::mt19937& random) {
  const std::vector<std::string> parts = {"<think>",
                                          "</think>",
                                          kCalls,
                                          kCallsEnd,
                                          kCall,
                                          kCallEnd,
                                          kSep,
                                          "f",
                                          "function",
                                          "{\"a\": \"é｜\"}",
                                          "\n",
                                          " ",
                                          "```json",
                                          "\n```json\n{}\n```",
                                          "<",
                                          "<｜",
                                          "｜tool▁",
                                          "🙂",
                                          "é",
                                          "text",
                                          kCall + "f" + kSep + "{}" + kCallEnd,
                                          Fenced("g", "{\"x\": 1}"),
                                          kCalls + Fenced("h", "[]") + kCallsEnd,
                                          kCalls + kCall + "k" + kSep + "{\"ü\": 1}" + kCallEnd + kCallsEnd};
  std::string text;
  for (int count = static_cast<int>(random() % 14); count >= 0; --count) {
    const std::string& part = parts[random() % parts.size()];
    // Now and then a marker that lacks its end or its beginning.
    const size_t at = random() % part.size();
    text += random() % 8 ? part : random() % 2 ? part.substr(0, at) : part.substr(at);
  }
  return text;
}

std::vector<std::string_view> RandomCut(std::string_view text, std::mt19937& random) {
  const size_t longest = 1 + random() % 12;
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const size_t length = std::min(text.size(), random() % (longest + 1));
    pieces.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return pieces;
}

TEST(OutputParser, EveryCutGivesTheSame) {
  std::mt19937 random(7);
  int calls = 0, reasoned = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string text = RandomText(random);
    const OutputFormat format = std::array{kPlain, kV3, kR1, kV31}[random() % 4];
    const OutputParser::Options options{format, random() % 2 == 0, random() % 4 != 0};
    const OutputParser::Delta whole = Parse(options, text);
    calls += static_cast<int>(whole.calls.size());
    reasoned += !whole.reasoning.empty();
    const OutputParser::Delta cut = Parse(options, RandomCut(text, random));
    ASSERT_EQ(cut.reasoning, whole.reasoning) << text;
    ASSERT_EQ(cut.content, whole.content) << text;
    ASSERT_EQ(cut.calls, whole.calls) << text;
    if (format.tools == ToolCallFormat::kNone && !format.reasoning) {
      ASSERT_EQ(whole.content, text);
    }
  }
  EXPECT_GT(calls, 1000);
  EXPECT_GT(reasoned, 1000);
}

TEST(OutputParser, PiecesOfWholeCharactersGiveWholeCharacters) {
  std::mt19937 random(8);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = RepairUtf8(RandomText(random));
    OutputParser parser({kV31, random() % 2 == 0});
    for (std::string_view rest = text; !rest.empty();) {
      const size_t length = NextUtf8(rest).length;
      const OutputParser::Delta piece = parser.Push(rest.substr(0, length));
      ASSERT_EQ(RepairUtf8(piece.content), piece.content) << text;
      ASSERT_EQ(RepairUtf8(piece.reasoning), piece.reasoning) << text;
      rest.remove_prefix(length);
    }
  }
}

TEST(OutputParser, TextIsHeldBackOnlyWhereItMayBeAMarker) {
  OutputParser parser({kV31});
  EXPECT_EQ(parser.Push("a").content, "a");
  EXPECT_EQ(parser.Push("b <").content, "b ");
  EXPECT_EQ(parser.Push("b").content, "<b");
  EXPECT_EQ(parser.Push("<｜tool").content, "");
  EXPECT_EQ(parser.Push("s").content, "<｜tools");
}

TEST(OutputParser, LongUnfinishedCallsCostLinearTime) {
  OutputParser parser({kV31});
  parser.Push(kCalls + kCall + "f" + kSep);
  std::string text;
  for (int i = 0; i < 1'000'000; ++i) EXPECT_TRUE(parser.Push("[1,").empty());
  EXPECT_EQ(parser.Finish().content.size(), (kCalls + kCall + "f" + kSep).size() + 3'000'000);
}

}  // namespace
}  // namespace hadal
