// hadal.yaml, through the program.
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

using testing::HasSubstr;

std::string OfRepository(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(std::string(HADAL_TEST_DATA) + "/../../" + name).rdbuf();
  return text.str();
}

class Config : public CliTest {
 protected:
  std::string Yaml(const std::string& text) {
    Write("h.yaml", text);
    return File("h.yaml");
  }
};

TEST_F(Config, TheExampleAndTheManualAreThoseOfTheProgram) {
  const Outcome example = Hadal({"config", "example"});
  EXPECT_EQ(example.code, 0) << example.err;
  EXPECT_EQ(OfRepository("deploy/hadal.yaml"), example.out)
      << "run: hadal config example > deploy/hadal.yaml";
  const Outcome tables = Hadal({"config", "keys", "--markdown"});
  EXPECT_THAT(OfRepository("docs/configuration.md"), testing::EndsWith(tables.out))
      << "put what 'hadal config keys --markdown' prints at the end of docs/configuration.md";
}

TEST_F(Config, AVerbRunsWithTheFile) {
  const std::string file =
      Yaml("model: " + Model() + "\nsampling: {max_tokens: 3, seed: 7}\nserver: {plain_http: true}\n");
  const Outcome outcome = Hadal({"run", "-v", "--config", file, "--json", "hello"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"seed\":7"));
  EXPECT_THAT(outcome.err, HasSubstr("configuration file: " + file));
  const Outcome other =
      Hadal({"run", "--json", "hello"}, {.environment = {"HADAL_CONFIG=" + file, "HADAL_SAMPLING_SEED=8"}});
  EXPECT_THAT(other.out, HasSubstr("\"seed\":8"));
}

TEST_F(Config, WhatIsWrongIsOneSentence) {
  ExpectFailure(Hadal({"serve", "--config", Yaml("server:\n  lisen: x\n")}),
                "h.yaml:2: there is no key 'server.lisen'; the nearest is server.listen");
  ExpectFailure(Hadal({"run", "--config", Yaml("engine:\n  threads: many\n"), "x"}),
                "h.yaml:2: engine.threads: 'many' is not a number from 0 to 4096");
  ExpectFailure(Hadal({"run", "--config", Yaml("engine: {threads: 1, threads: 2}\n"), "x"}),
                "stands here again");
  ExpectFailure(Hadal({"run", "--config", File("none.yaml"), "x"}), "none.yaml");
}

TEST_F(Config, PrintConfigSaysWhereEachValueIsFrom) {
  const std::string file = Yaml("engine: {context: 99}\nserver: {public_url: 'https://u:secret@h'}\n");
  const Outcome outcome = Hadal({"serve", "--config", file, "--threads", "3", "--print-config"},
                                {.environment = {"HADAL_ENGINE_CHUNK=64"}});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const std::string& part :
       {std::string("context: 99"), file + ":1", std::string("threads: 3"), std::string("flag --threads"),
        std::string("HADAL_ENGINE_CHUNK"), std::string("https://***@h")})
    EXPECT_THAT(outcome.out, HasSubstr(part));
  EXPECT_THAT(outcome.out, testing::Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace hadal::e2e
