#include "cli/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "cli/flags.h"
#include "cli/settings_text.h"

namespace hadal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A program with two verbs; each test runs in an empty folder of its own.
class SettingsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "hadal_settings_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    before_ = std::filesystem::current_path();
    std::filesystem::current_path(folder_);
    serve_ = app_.add_subcommand("serve");
    Setting(AddNumber(*serve_, "--threads", threads_, 0, 64, "Threads"), "engine.threads");
    Setting(AddNumber(*serve_, "--heat", heat_, 0, 2, "Heat"), "engine.heat");
    Setting(AddChoice(*serve_, "--mode", mode_, {"a", "b"}, "Mode"), "engine.mode_of_work");
    Setting(serve_->add_option("--name", name_, "Name"), "server.name");
    Setting(serve_->add_option("--host", hosts_, "Hosts")->allow_extra_args(false), "server.hosts");
    Setting(AddSwitch(*serve_, "cache", cache_, "Cache"), "engine.cache");
    Setting(serve_->add_option("--model", model_, "Model")->type_name("DIR"), "model");
    other_ = app_.add_subcommand("other");
    Setting(AddNumber(*other_, "--steps", steps_, 1, 9, "Steps"), "train.steps");
    settings_.Collect(app_);
  }
  void TearDown() override {
    for (const std::string& name : variables_) unsetenv(name.c_str());
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }

  void Variable(const std::string& name, const std::string& value) {
    setenv(name.c_str(), value.c_str(), 1);
    variables_.push_back(name);
  }
  static void File(const std::string& text, const std::string& name = "hadal.yaml") {
    std::ofstream(name) << text;
  }

  Status Run(std::vector<std::string> words) {
    std::reverse(words.begin(), words.end());
    app_.parse(std::move(words));
    return settings_.Apply(*app_.get_subcommands().front());
  }
  std::string Refused(const std::string& file) {
    File(file);
    const Status status = Run({"serve"});
    EXPECT_FALSE(status) << file;
    return status ? "" : status.error().message;
  }

  Path folder_, before_;
  std::vector<std::string> variables_;
  int64_t threads_ = 1, steps_ = 1;
  double heat_ = 0.5;
  std::string mode_ = "a", name_, model_;
  std::vector<std::string> hosts_;
  bool cache_ = true;
  CLI::App app_{"", "hadal"};
  CLI::App *serve_ = nullptr, *other_ = nullptr;
  Settings settings_;
};

TEST_F(SettingsTest, FlagBeforeVariableBeforeFileBeforeDefault) {
  File("engine: {threads: 2, heat: 0.25, mode_of_work: b}\nmodel: /m\n");
  Variable("HADAL_ENGINE_THREADS", "3");
  Variable("HADAL_ENGINE_HEAT", "1.5");
  ASSERT_TRUE(Run({"serve", "--threads", "4"}));
  EXPECT_EQ(threads_, 4);
  EXPECT_EQ(heat_, 1.5);
  EXPECT_EQ(mode_, "b");
  EXPECT_EQ(model_, "/m");
  EXPECT_EQ(name_, "");
  EXPECT_TRUE(cache_);
  const std::string effective = settings_.Effective(*serve_);
  EXPECT_THAT(effective, HasSubstr("threads: 4"));
  for (const char* origin :
       {"# flag --threads", "# HADAL_ENGINE_HEAT", "# hadal.yaml:1", "# hadal.yaml:2", "# default"})
    EXPECT_THAT(effective, HasSubstr(origin));
}

TEST_F(SettingsTest, TheFileIsLookedForInOrder) {
  File("engine: {threads: 2}\n");
  File("engine: {threads: 3}\n", "v.yaml");
  File("engine: {threads: 4}\n", "f.yaml");
  ASSERT_TRUE(Run({"serve"}));
  EXPECT_EQ(threads_, 2);
  EXPECT_EQ(settings_.file(), "hadal.yaml");
  Variable("HADAL_CONFIG", "v.yaml");
  ASSERT_TRUE(Run({"serve"}));
  EXPECT_EQ(threads_, 3);
  ASSERT_TRUE(Run({"serve", "--config", "f.yaml"}));
  EXPECT_EQ(threads_, 4);
  const Status missing = Run({"serve", "--config", "none.yaml"});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("none.yaml"));
}

TEST_F(SettingsTest, SwitchesAndLists) {
  File("engine:\n  cache: false\nserver:\n  hosts:\n    - a.example\n    - 'on'\n");
  ASSERT_TRUE(Run({"serve"}));
  EXPECT_FALSE(cache_);
  EXPECT_THAT(hosts_, ElementsAre("a.example", "on"));
  ASSERT_TRUE(Run({"serve", "--cache", "--host", "x"}));
  EXPECT_TRUE(cache_);
  EXPECT_THAT(hosts_, ElementsAre("x"));
  ASSERT_TRUE(Run({"serve", "--no-cache"}));
  EXPECT_FALSE(cache_);
  Variable("HADAL_SERVER_HOSTS", "p  q");
  ASSERT_TRUE(Run({"serve"}));
  EXPECT_THAT(hosts_, ElementsAre("p", "q"));
}

TEST_F(SettingsTest, AListOfMapsBecomesNamesAndValues) {
  File("server:\n  hosts:\n    - url: https://a,b\n      age: 3\n      open: true\n");
  ASSERT_TRUE(Run({"serve"}));
  EXPECT_THAT(hosts_, ElementsAre("url=https://a\\,b,age=3,open=true"));
}

TEST_F(SettingsTest, ErrorsNameFileLineKeyAndWhatIsExpected) {
  EXPECT_EQ(Refused("engine:\n  threads: many\n"),
            "hadal.yaml:2: engine.threads: 'many' is not a number from 0 to 64");
  EXPECT_THAT(Refused("engine: {threads: 1.5}\n"), HasSubstr("without a fraction"));
  EXPECT_THAT(Refused("engine: {threads: 65}\n"), HasSubstr("from 0 to 64"));
  EXPECT_THAT(Refused("engine: {threads: [1]}\n"), HasSubstr("a list stands where one value"));
  EXPECT_THAT(Refused("engine: {threads: {a: 1}}\n"), HasSubstr("a section stands where"));
  EXPECT_THAT(Refused("engine: {threads: }\n"), HasSubstr("there is no value"));
  EXPECT_THAT(Refused("engine: {mode_of_work: c}\n"), HasSubstr("'c' is not one of a, b"));
  EXPECT_THAT(Refused("engine: {cache: yes}\n"), HasSubstr("'yes' is not true or false"));
  EXPECT_THAT(Refused("engine: {cache: 'true'}\n"), HasSubstr("not true or false"));
  EXPECT_THAT(Refused("server: {name: on}\n"), HasSubstr("must be in quotes"));
  EXPECT_THAT(Refused("server: {hosts: a}\n"), HasSubstr("expected a list"));
  EXPECT_THAT(Refused("server: x\n"), HasSubstr("server is a section"));
  Variable("HADAL_ENGINE_THREADS", "x");
  EXPECT_EQ(Refused(""), "HADAL_ENGINE_THREADS: 'x' is not a number from 0 to 64");
}

TEST_F(SettingsTest, UnknownKeysNameTheNearest) {
  EXPECT_EQ(Refused("engine:\n  thread: 1\n"),
            "hadal.yaml:2: there is no key 'engine.thread'; the nearest is engine.threads");
  EXPECT_THAT(Refused("\nengin: {threads: 1}\n"),
              HasSubstr(":2: there is no key 'engin'; the nearest is engine"));
  EXPECT_THAT(Refused("mode: x\n"), HasSubstr("the nearest is model"));
}

TEST_F(SettingsTest, AnotherVerbsKeysAreKnownAndNotRead) {
  File("train:\n  steps: 9\nengine:\n");
  ASSERT_TRUE(Run({"serve"}));
  EXPECT_EQ(steps_, 1);
  ASSERT_TRUE(Run({"other"}));
  EXPECT_EQ(steps_, 9);
}

TEST_F(SettingsTest, AFileThatEverybodyMayWriteIsRefused) {
  File("engine: {threads: 2}\n");
  ASSERT_EQ(chmod("hadal.yaml", 0666), 0);
  const Status status = Run({"serve"});
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("everybody may write"));
}

TEST_F(SettingsTest, TheExampleAndTheEffectiveFileCanBeReadAgain) {
  File(ExampleFile(settings_.All()));
  ASSERT_TRUE(Run({"serve"}));
  EXPECT_EQ(threads_, 1);
  File("server: {name: 'a: \"b\" #c', hosts: ['true', 'x y']}\n");
  ASSERT_TRUE(Run({"serve"}));
  File(settings_.Effective(*serve_), "again.yaml");
  name_.clear();
  const Status status = Run({"serve", "--config", "again.yaml"});
  ASSERT_TRUE(status) << status.error().message << settings_.Effective(*serve_);
  EXPECT_EQ(name_, "a: \"b\" #c");
  EXPECT_THAT(hosts_, ElementsAre("true", "x y"));
}

TEST(SettingsText, AddressesLoseTheirPasswords) {
  EXPECT_EQ(Masked("https://me:secret@host/x"), "https://***@host/x");
  EXPECT_EQ(Masked("a=https://h/a@b,c=http://u@h"), "a=https://h/a@b,c=http://***@h");
  EXPECT_EQ(Masked("plain"), "plain");
}

TEST(Settings, KeysAndVariables) {
  EXPECT_EQ(VariableOf("engine.target_tpot_ms"), "HADAL_ENGINE_TARGET_TPOT_MS");
}

}  // namespace
}  // namespace hadal
