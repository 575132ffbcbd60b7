#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class TrainData : public CliTest {
 protected:
  /// `chats` conversations and a folder of text; a tokenizer of them.
  void MakeInputs(int chats) {
    std::string lines;
    for (int i = 0; i < chats; ++i)
      lines += fmt::format(R"({{"messages": [{{"role": "user", "content": "What is {0} plus {1}?"}}, )"
                           R"({{"role": "assistant", "content": "{0} plus {1} is {2}."}}]}})"
                           "\n",
                           i, i * 7 % 100, i + i * 7 % 100);
    Write("chats.jsonl", lines);
    std::filesystem::create_directory(folder_ / "books");
    Write("books/sea.txt", "The sea is deep.\n\nThe trench is deeper.\n");
    const Outcome made = Hadal({"train", "tokenizer", File("chats.jsonl"), File("books"), "--vocab-size",
                                "400", "--out", File("tokenizer"), "--json"});
    ASSERT_EQ(made.code, 0) << made.err;
    EXPECT_EQ(Json::parse(made.out)["vocab_size"], 400);
  }

  std::vector<std::string> Prepare(const std::string& out) const {
    return {"train",
            "prepare",
            File("chats.jsonl"),
            File("books"),
            "--text-documents",
            "blank-lines",
            "--tokenizer",
            File("tokenizer"),
            "--out",
            File(out),
            "--held-out",
            File(out + "-held-out"),
            "--held-out-share",
            "0.1",
            "--json"};
  }

  /// Starts a command, and sends it a signal as soon as it has finished a first piece of the work. The exit
  /// code.
  int Stop(const std::vector<std::string>& arguments, const std::string& out, int signal) {
    std::vector<std::string> command{HADAL_BINARY};
    command.insert(command.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& text : command) argv.push_back(text.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, HADAL_BINARY, &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
      std::error_code ignored;
      if (std::filesystem::exists(folder_ / out / "units" / "00000.json", ignored)) {
        kill(pid, signal);
        waitpid(pid, &status, 0);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::map<std::string, std::string> Files(const std::string& folder) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / folder))
      if (entry.is_regular_file())
        files[entry.path().lexically_relative(folder_ / folder).string()] = ReadFile(entry.path()).value();
    return files;
  }
};

TEST_F(TrainData, FromTextToShards) {
  MakeInputs(300);
  const Outcome made = Hadal(Prepare("shards"));
  ASSERT_EQ(made.code, 0) << made.err;
  const Json report = Json::parse(made.out);
  EXPECT_EQ(report["training"]["documents"].get<int>() + report["held_out"]["documents"].get<int>(), 302);
  EXPECT_GT(report["held_out"]["documents"], 5);
  EXPECT_LT(report["training"]["learnt_tokens"], report["training"]["tokens"]);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "shards/index.json"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "shards-held-out/index.json"));
}

TEST_F(TrainData, KilledOrInterruptedItGoesOnToTheSameBytes) {
  MakeInputs(20000);
  ASSERT_EQ(Hadal(Prepare("whole")).code, 0);
  for (const int signal : {SIGKILL, SIGINT, SIGTERM}) {
    SCOPED_TRACE(signal);
    const std::string out = "cut" + std::to_string(signal);
    const int code = Stop(Prepare(out), out, signal);
    EXPECT_THAT(code, testing::AnyOf(128 + SIGKILL, 2, 0));  // 0: it was done before the signal came
    const Outcome again = Hadal(Prepare(out));
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_GE(Json::parse(again.out)["reused_units"], 1);
    EXPECT_EQ(Files(out), Files("whole"));
    EXPECT_EQ(Files(out + "-held-out"), Files("whole-held-out"));
  }
}

TEST_F(TrainData, BadLinesAndFlagsAreSentences) {
  MakeInputs(300);
  Write("bad.jsonl", "{\"text\": \"fine\"}\n\n{\"text\": \"fine\"\n{\"messages\": []}\n");
  const std::vector<std::string> bad = {"train",           "prepare", File("bad.jsonl"), "--tokenizer",
                                        File("tokenizer"), "--out",   File("out")};
  ExpectFailure(Hadal(bad), "bad.jsonl:3: not JSON");
  std::vector<std::string> skipping = bad;
  skipping.back() = File("skipping");
  skipping.insert(skipping.end(), {"--skip-bad-lines", "--json"});
  const Outcome skipped = Hadal(skipping);
  ASSERT_EQ(skipped.code, 0) << skipped.err;
  EXPECT_EQ(Json::parse(skipped.out)["skipped"], 2);
  EXPECT_THAT(skipped.err, HasSubstr("bad.jsonl:4: 'messages'"));
  ExpectFailure(Hadal({"train", "prepare", File("chats.jsonl"), "--out", File("x")}), "--tokenizer");
  std::vector<std::string> share = bad;
  share.insert(share.end(), {"--held-out-share", "0.1"});
  ExpectFailure(Hadal(share), "--held-out");
  ExpectFailure(
      Hadal({"train", "prepare", File("nothing.txt"), "--tokenizer", File("tokenizer"), "--out", File("x")}),
      "there is no");
  ExpectFailure(Hadal({"train", "tokenizer", File("bad.jsonl"), "--out", File("y")}), "bad.jsonl:3");
}

TEST_F(TrainData, ADiskThatIsFullIsSaidAndNothingHalfWrittenStays) {
  MakeInputs(3000);
  std::string command = "ulimit -f 16; trap '' XFSZ; exec " HADAL_BINARY;
  for (const std::string& argument : Prepare("full")) command += " '" + argument + "'";
  command += " 2>" + File("errors");
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 2);
  EXPECT_THAT(Contents("errors"), HasSubstr("hadal: cannot write"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "full/index.json"));
  for (const auto& [name, text] : Files("full")) EXPECT_EQ(name.find(".tmp."), std::string::npos) << name;
  EXPECT_EQ(Hadal(Prepare("full")).code, 0);
}

}  // namespace
}  // namespace hadal::e2e
