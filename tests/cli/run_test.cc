#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class RunVerb : public CliTest {
 protected:
  json Json(std::vector<std::string> more, const Settings& settings = {}) {
    std::vector<std::string> arguments{"run", "--model", Model(), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Hadal(arguments, settings);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.out, nullptr, false);
  }
};

TEST_F(RunVerb, HelpOfEveryVerbHasAnExample) {
  const std::vector<std::vector<std::string>> verbs{{"run"},    {"bench", "model"}, {"logits"}, {"tokenize"},
                                                    {"render"}, {"synth"},          {"convert"}};
  for (std::vector<std::string> verb : verbs) {
    const std::string name = testing::PrintToString(verb);
    verb.push_back("--help");
    const Outcome help = Hadal(verb);
    EXPECT_EQ(help.code, 0) << name;
    EXPECT_THAT(help.out, HasSubstr("Example")) << name;
    EXPECT_THAT(help.out, HasSubstr("--json")) << name;
  }
  EXPECT_THAT(Hadal({"--help"}).out, HasSubstr("convert"));
  EXPECT_THAT(Hadal({"--version"}).out, HasSubstr("hadal "));
}

TEST_F(RunVerb, SameSeedSameAnswerHoweverItIsComputed) {
  const std::vector<std::string> base{"--seed", "5", "--max-tokens", "20", "--ignore-eos", "Hello there"};
  const json answer = Json(base);
  EXPECT_EQ(answer["generated_tokens"], 20);
  EXPECT_EQ(answer["ids"].size(), 20u);
  EXPECT_EQ(answer["finish_reason"], "length");
  EXPECT_EQ(answer["seed"], 5);
  EXPECT_GT(answer["prompt_tokens"], 3);
  for (const std::vector<std::string>& other :
       std::vector<std::vector<std::string>>{{"--chunk", "2"}, {"--threads", "1"}, {"--context", "64"}}) {
    std::vector<std::string> arguments = base;
    arguments.insert(arguments.begin(), other.begin(), other.end());
    EXPECT_EQ(Json(arguments)["ids"], answer["ids"]) << other[0];
  }
  std::set<std::string> answers;
  for (int i = 0; i < 4; ++i)
    answers.insert(Json({"--max-tokens", "8", "--ignore-eos", "Hello"})["ids"].dump());
  EXPECT_GT(answers.size(), 1u) << "without a seed, answers differ";
}

TEST_F(RunVerb, StreamedTextIsTheAnswersText) {
  const json answer = Json({"--greedy", "--max-tokens", "12", "Hello"});
  const Outcome plain = Hadal({"run", "--model", Model(), "--greedy", "--max-tokens", "12", "Hello"});
  EXPECT_EQ(plain.out, answer["text"].get<std::string>() + "\n");
}

TEST_F(RunVerb, PromptFromInputFileAndSystem) {
  Write("file.txt", "Hello");
  const json argument = Json({"--greedy", "--max-tokens", "4", "Hello"});
  EXPECT_EQ(Json({"--greedy", "--max-tokens", "4"}, {.input = "Hello\n"})["ids"], argument["ids"]);
  EXPECT_EQ(Json({"--greedy", "--max-tokens", "4", "--file", File("file.txt")})["ids"], argument["ids"]);
  const json both = Json({"--greedy", "--max-tokens", "4", "--file", File("file.txt"), "more"});
  EXPECT_EQ(both["prompt_tokens"], Json({"--greedy", "--max-tokens", "4", "Hello\n\nmore"})["prompt_tokens"]);
  EXPECT_GT(Json({"--greedy", "--max-tokens", "4", "--system", "Be brief.", "Hello"})["prompt_tokens"],
            argument["prompt_tokens"]);
  ExpectFailure(Hadal({"run", "--model", Model()}), "there is no prompt");
  EXPECT_GT(Json({"--greedy", "--max-tokens", "4", "synth"})["prompt_tokens"], 3)
      << "a verb's name as a prompt";
}

TEST_F(RunVerb, BehindTwoDashesNothingIsAFlag) {
  for (const char* prompt : {"--hello", "-x", "--", "--model"}) {
    const json argument = Json({"--greedy", "--max-tokens", "4", "--", prompt});
    const json input = Json({"--greedy", "--max-tokens", "4"}, {.input = prompt});
    EXPECT_EQ(argument["prompt_tokens"], input["prompt_tokens"]) << prompt;
    EXPECT_EQ(argument["ids"], input["ids"]) << prompt;
  }
}

TEST_F(RunVerb, RawContinuesTheTextAfterTheFirstToken) {
  const json raw = Json({"--raw", "--greedy", "--max-tokens", "4", "a"});
  EXPECT_EQ(raw["prompt_tokens"], 2);
  // The prompt as the template writes it, given raw, is the same prompt.
  const Outcome text =
      Hadal({"render", "--model", Model()},
            {.input = R"({"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": true})"});
  EXPECT_EQ(Json({"--raw", "--greedy", "--max-tokens", "4", text.out})["ids"],
            Json({"--greedy", "--max-tokens", "4", "a"})["ids"]);
}

TEST_F(RunVerb, StopBiasAndEndOfContext) {
  const json free =
      Json({"--greedy", "--max-tokens", "30", "--ignore-eos", "--logit-bias", "66:100", "Hello"});
  const std::string text = free["text"];
  ASSERT_EQ(text, std::string(30, text[0]));  // the bias outweighs every logit
  const json stopped = Json(
      {"--greedy", "--max-tokens", "30", "--logit-bias", "66:100", "--stop", text.substr(0, 3), "Hello"});
  EXPECT_EQ(stopped["text"], "");
  EXPECT_EQ(stopped["finish_reason"], "stop");
  EXPECT_EQ(stopped["generated_tokens"], 3);
  const json full = Json({"--greedy", "--ignore-eos", "--context", "20", "Hello"});
  EXPECT_EQ(full["finish_reason"], "context");
  EXPECT_EQ(full["prompt_tokens"].get<int>() + full["generated_tokens"].get<int>(), 20);
}

TEST_F(RunVerb, ALongPromptGetsTheContextItNeeds) {
  std::string config = (Model(), Contents("model/config.json"));
  const std::string key = "\"max_position_embeddings\": ";
  config.insert(config.find(key) + key.size(), "9");  // of thousands
  Write("model/config.json", config);
  Write("long.txt", std::string(10000, '%'));
  const json answer = Json({"--file", File("long.txt"), "--ignore-eos", "--max-tokens", "3", "-v"});
  EXPECT_GT(answer["prompt_tokens"], 4096);
  EXPECT_EQ(answer["generated_tokens"], 3);
}

TEST_F(RunVerb, FlagBeforeEnvironmentBeforeFolder) {
  // generation_config.json has a temperature of 0.6; greedy answers do not depend on the seed.
  const auto ids = [&](std::vector<std::string> more, const char* temperature, const char* seed) {
    Settings settings;
    settings.environment = {std::string("HADAL_SAMPLING_SEED=") + seed};
    if (*temperature != '\0') settings.environment.push_back(std::string("HADAL_SAMPLING_TEMPERATURE=") + temperature);
    more.insert(more.end(), {"--max-tokens", "12", "--ignore-eos", "Hello"});
    return Json(more, settings)["ids"];
  };
  EXPECT_NE(ids({}, "", "1"), ids({}, "", "2"));
  EXPECT_EQ(ids({}, "0", "1"), ids({}, "0", "2"));
  EXPECT_NE(ids({"--temperature", "1"}, "0", "1"), ids({"--temperature", "1"}, "0", "2"));
}

TEST_F(RunVerb, RandomWeightsAreSaidToBe) {
  EXPECT_THAT(Hadal({"run", "--model", Model(), "--max-tokens", "1", "a"}).err,
              HasSubstr("weights are random"));
  std::filesystem::remove(folder_ / "model/RANDOM_WEIGHTS");
  EXPECT_EQ(Hadal({"run", "--model", Model(), "--max-tokens", "1", "a"}).err, "");
}

TEST_F(RunVerb, DefaultModelIsFoundInHadalHome) {
  std::filesystem::create_directories(folder_ / "home/models");
  std::filesystem::rename(Model(), folder_ / "home/models/default");
  const Outcome outcome =
      Hadal({"run", "--max-tokens", "1", "a"}, {.environment = {"HADAL_HOME=" + File("home")}});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

}  // namespace
}  // namespace hadal::e2e
