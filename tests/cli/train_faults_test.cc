// hadal train against the world: killed again and again, a full disk, folders and files that are not what they should be.
#include "cli/train_util.h"

namespace hadal::e2e {
namespace {

class TrainFaultsTest : public TrainTest {
 protected:
  static std::vector<std::string> Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), HADAL_BINARY);
    return arguments;
  }
};

TEST_F(TrainFaultsTest, KilledAgainAndAgainItEndsInTheSameBits) {
  const std::vector<std::string> more = {"--steps", "40", "--save-every", "1"};
  ASSERT_EQ(Hadal(Arguments("whole", more)).code, 0);
  std::vector<std::string> resumed = more;
  resumed.push_back("--resume");
  const std::vector<std::string> arguments = Arguments("parts", resumed);
  for (int kill_at = 0; kill_at < 8; ++kill_at) {
    const pid_t child = Spawn(Command(arguments), File("log"));
    // Some moments lie before the first update, some within a save.
    std::this_thread::sleep_for(std::chrono::milliseconds(60 + 70 * kill_at));
    kill(child, SIGKILL);
    Await(child);
  }
  const Outcome rest = Hadal(arguments);
  ASSERT_EQ(rest.code, 0) << rest.err;
  EXPECT_EQ(Contents("parts/model/model.safetensors"), Contents("whole/model/model.safetensors"));
  EXPECT_EQ(Log("parts").size(), 40u);
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "parts/checkpoints"))
    EXPECT_EQ(entry.path().extension(), "") << entry.path();
}

TEST_F(TrainFaultsTest, AFullDiskEndsItWithTheLastCheckpointWhole) {
  const std::vector<std::string> first = Arguments("run", {"--steps", "2", "--schedule", "constant"});
  ASSERT_EQ(Hadal(first).code, 0);
  const std::string more = "--steps 5 --save-every 1 --resume";
  // No file may grow beyond 64 KiB.
  std::string line = "trap '' XFSZ; ulimit -f 64; exec " + std::string(HADAL_BINARY);
  for (const std::string& argument : Arguments("run", {"--schedule", "constant"})) line += " '" + argument + "'";
  EXPECT_EQ(Await(Spawn({"bash", "-c", line + " " + more}, File("log"))), 2);
  EXPECT_NE(Contents("log").find("rank-00000.safetensors"), std::string::npos) << Contents("log");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/checkpoints/step-00000002/manifest.json"));
  const Outcome again = Hadal(Arguments("run", {"--steps", "5", "--schedule", "constant", "--resume"}));
  EXPECT_EQ(again.code, 0) << again.err;
}

TEST_F(TrainFaultsTest, SaysWhatIsWrongWithItsFolders) {
  Write("file", "");
  ExpectFailure(Hadal(Arguments("file", {"--steps", "1"})), "file");
  ExpectFailure(Hadal(Arguments("file/run", {"--steps", "1"})), "cannot make");
  std::filesystem::create_directories(folder_ / "taken/lock");
  ExpectFailure(Hadal(Arguments("taken", {"--steps", "1"})), "taken/lock");
  std::filesystem::create_directories(folder_ / "logless/log.jsonl");
  const Outcome logless = Hadal(Arguments("logless", {"--steps", "1"}));
  EXPECT_EQ(logless.code, 2);
  EXPECT_NE(logless.err.find("log.jsonl"), std::string::npos) << logless.err;
  std::filesystem::create_directories(folder_ / "empty");
  ExpectFailure(Hadal(Arguments("run", {"--data", File("empty")})), "index.json");
  for (const char* index : {"", "[]", "{\"format\": 1}", "{\"format\": 1, \"vocab_size\": 256, \"tokenizer\": \"x\", \"shards\": []}",
                            "{\"format\": 1, \"vocab_size\": 256, \"tokenizer\": \"x\", \"shards\": [{\"name\": \"a\", "
                            "\"tokens\": -1, \"documents\": 1, \"checksum\": \"zz\"}]}"}) {
    Write("empty/index.json", index);
    const Outcome outcome = Hadal(Arguments("run", {"--data", File("empty"), "--steps", "1"}));
    ExpectFailure(outcome, "empty");
  }
  // None of these has left a run behind.
  EXPECT_EQ(Hadal(Arguments("run", {"--steps", "1"})).code, 0);
}

}  // namespace
}  // namespace hadal::e2e
