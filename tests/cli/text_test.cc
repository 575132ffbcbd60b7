#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

using testing::HasSubstr;

class TextVerbs : public CliTest {
 protected:
  static std::string Tokenizer() { return std::string(HADAL_TEST_DATA) + "/tokenizer/tiny-bpe"; }
};

TEST_F(TextVerbs, TokenizeAndBack) {
  const nlohmann::json texts = {"Hello wörld", "", "line\nbreak \"quoted\" 你好", std::string(100000, 'a')};
  std::string input;
  for (const auto& text : texts) input += nlohmann::json{{"text", text}}.dump() + "\n";
  const Outcome ids = Hadal({"tokenize", "--model", Tokenizer()}, {.input = input});
  ASSERT_EQ(ids.code, 0) << ids.err;
  const Outcome back = Hadal({"tokenize", "--model", Tokenizer(), "--decode"}, {.input = ids.out});
  ASSERT_EQ(back.code, 0) << back.err;
  std::istringstream lines(back.out);
  std::string line;
  for (const auto& text : texts) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(nlohmann::json::parse(line)["text"], text);
  }
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(TextVerbs, TokenizeNamesTheLine) {
  const auto error = [&](const std::string& input, bool decode) {
    std::vector<std::string> arguments{"tokenize", "--model", Tokenizer()};
    if (decode) arguments.push_back("--decode");
    const Outcome outcome = Hadal(arguments, {.input = input});
    EXPECT_EQ(outcome.code, 1);
    return outcome.err;
  };
  EXPECT_THAT(error("{\"text\": \"a\"}\nnonsense\n", false), HasSubstr("line 2 of the input: not JSON"));
  EXPECT_THAT(error("{\"ids\": [1]}\n", false), HasSubstr("line 1 of the input: expected"));
  EXPECT_THAT(error("{\"ids\": [1, 512]}", true), HasSubstr("512 is no token id"));
  EXPECT_THAT(error("{\"ids\": [-1]}", true), HasSubstr("-1 is no token id"));
  EXPECT_THAT(error("{\"ids\": [99999999999999999999]}", true), HasSubstr("is no token id"));
}

TEST_F(TextVerbs, TokenizeGoesOnBehindALineItCannotAnswer) {
  const Outcome outcome =
      Hadal({"tokenize", "--model", Tokenizer()}, {.input = "{\"text\": \"a\"}\n[]\n{\"text\": \"b\"}\n"});
  EXPECT_EQ(outcome.code, 1);
  std::istringstream lines(outcome.out);
  std::string first, second, third;
  std::getline(lines, first);
  std::getline(lines, second);
  std::getline(lines, third);
  EXPECT_THAT(first, HasSubstr("ids"));
  EXPECT_THAT(second, HasSubstr("\"error\":\"line 2 of the input"));
  EXPECT_THAT(third, HasSubstr("ids"));
}

TEST_F(TextVerbs, TokenizeTakesMarkersAsTextWhenAsked) {
  const Settings input{.input = "{\"text\": \"<｜User｜>\"}\n"};
  const Outcome marker = Hadal({"tokenize", "--model", Model()}, input);
  const Outcome plain = Hadal({"tokenize", "--model", Model(), "--plain"}, input);
  EXPECT_EQ(nlohmann::json::parse(marker.out)["ids"].size(), 1u);
  EXPECT_GT(nlohmann::json::parse(plain.out)["ids"].size(), 1u);
}

TEST_F(TextVerbs, RenderPrintsTheTextAndNothingElse) {
  const Settings input{
      .input = R"({"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true})"};
  const Outcome outcome = Hadal({"render", "--model", Model()}, input);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>");
  const Outcome json = Hadal({"render", "--model", Model(), "--json"}, input);
  EXPECT_EQ(nlohmann::json::parse(json.out)["text"], outcome.out);
}

TEST_F(TextVerbs, RenderRefusesWhatIsNoConversation) {
  ExpectFailure(Hadal({"render", "--model", Model()}, {.input = "[1]"}),
                "an object of variables, found a list");
  ExpectFailure(Hadal({"render", "--model", Model()}, {.input = "{"}), "not valid JSON");
  ExpectFailure(Hadal({"render", "--model", Golden("v3-tiny-f32")}, {.input = "{}"}), "template");
}

TEST_F(TextVerbs, FullOutputIsAFailure) {
  const Outcome outcome =
      Hadal({"tokenize", "--model", Tokenizer()}, {.input = "{\"text\": \"a\"}\n", .out_file = "/dev/full"});
  ExpectFailure(outcome, "cannot write to standard output");
}

}  // namespace
}  // namespace hadal::e2e
