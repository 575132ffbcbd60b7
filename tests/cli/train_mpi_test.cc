// hadal train as real ranks under mpirun: the same results, told to end, killed, hanging.
#include <cmath>

#include "cli/train_util.h"

namespace hadal::e2e {
namespace {

TEST_F(MpiTrainTest, EveryFactorisationOfEightRanksTrainsWhatOneRankTrains) {
  // Eight layers, so that each of eight stages has one.
  const std::string deep = Copy(Model(), "deep");
  std::string config = Contents("deep/config.json");
  const std::string four = "\"num_hidden_layers\": 4";
  config.replace(config.find(four), four.size(), "\"num_hidden_layers\": 8");
  Write("deep/config.json", config);
  std::filesystem::remove(folder_ / "deep/model.safetensors");
  const auto arguments = [&](const std::string& out, std::vector<std::string> more) {
    std::vector<std::string> all = {"train", "--model", deep, "--data", File("data"), "--out", File(out), "--fresh",
                                    "--sequence-length", "8", "--global-batch-size", "8", "--steps", "2", "--precision",
                                    "f64", "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Outcome alone = Hadal(arguments("alone", {}));
  ASSERT_EQ(alone.code, 0) << alone.err;
  const auto expected = Log("alone");
  for (const int tensor : {1, 2, 4, 8})
    for (int pipeline = 1; tensor * pipeline <= 8; pipeline *= 2) {
      const int data = 8 / tensor / pipeline;
      const std::string name = fmt::format("t{}p{}d{}", tensor, pipeline, data);
      const auto command = UnderMpi(8, arguments(name, {"--tensor-parallel", std::to_string(tensor), "--pipeline-parallel",
                                                        std::to_string(pipeline), "--expert-parallel", std::to_string(data)}));
      ASSERT_EQ(Await(Spawn(command, File(name + ".log"))), 0) << name << "\n" << Contents(name + ".log");
      const auto found = Log(name);
      ASSERT_EQ(found.size(), expected.size()) << name;
      for (size_t i = 0; i < found.size(); ++i)
        for (const char* key : {"loss", "mtp_loss", "balance_loss", "gradient_norm"}) {
          const double want = expected[i][key];
          EXPECT_NEAR(found[i][key], want, 1e-12 * std::max(1.0, std::abs(want))) << name << " " << key;
        }
      std::filesystem::remove_all(folder_ / name);
    }
}

TEST_F(MpiTrainTest, ARankThatDiesIsNamedAndTheRestResumesFromTheLastCheckpoint) {
  const auto arguments = Arguments("run", {"--steps", "100000", "--save-every", "2", "--tensor-parallel", "2", "--threads", "1"});
  const pid_t launcher = Spawn(UnderMpi(2, arguments), File("log"));
  const auto saved = [&] {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "run/checkpoints", error))
      if (std::filesystem::exists(entry.path() / "manifest.json", error)) return true;
    return false;
  };
  for (int i = 0; i < 6000 && !saved(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_TRUE(saved()) << Contents("log");
  // The second rank's process, by its own record.
  const pid_t pid = ProcessOf("run", 1);
  ASSERT_GT(pid, 1);
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  EXPECT_NE(Await(launcher), 0);
  const std::string log = Contents("log");
  EXPECT_NE(log.find("rank 1 (host "), std::string::npos) << log;
  EXPECT_NE(log.find("is gone"), std::string::npos) << log;

  auto again = Arguments("run", {"--steps", "100000", "--resume", "--threads", "1"});
  const pid_t resumed = Spawn({[&] {
    std::vector<std::string> command = {HADAL_BINARY};
    command.insert(command.end(), again.begin(), again.end());
    return command;
  }()}, File("log2"));
  EXPECT_TRUE(WaitForText("log2", "goes on from")) << Contents("log2");
  EXPECT_TRUE(WaitForText("log2", "/100000")) << Contents("log2");
  kill(resumed, SIGTERM);
  EXPECT_EQ(Await(resumed), 1) << Contents("log2");
}

TEST_F(MpiTrainTest, ARankThatHangsIsNamedWithinTheTimeLimit) {
  const auto arguments = Arguments("run", {"--steps", "100000", "--data-parallel", "2", "--threads", "1", "--timeout", "3"});
  const pid_t launcher = Spawn(UnderMpi(2, arguments), File("log"));
  ASSERT_TRUE(WaitForText("log", "1/100000")) << Contents("log");
  const pid_t pid = ProcessOf("run", 1);
  ASSERT_GT(pid, 1);
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  EXPECT_NE(Await(launcher), 0);
  kill(pid, SIGKILL);
  const std::string log = Contents("log");
  EXPECT_NE(log.find("rank 0 waited 3.0 s in"), std::string::npos) << log;
}

/// Two ranks without a checkpoint on their way; the same numbers whatever the last update is.
std::vector<std::string> Endless(const std::string& steps) {
  return {"--steps", steps, "--save-every", "0", "--data-parallel", "2", "--threads", "1", "--schedule", "constant"};
}

TEST_F(MpiTrainTest, ASignalToOneRankOrToMpirunSavesOnAllRanksAndEnds) {
  for (const bool one_rank : {true, false}) {
    const std::string out = one_rank ? "one" : "all", log = out + ".log";
    const pid_t launcher = Spawn(UnderMpi(2, Arguments(out, Endless("100000"))), File(log));
    ASSERT_TRUE(WaitForText(log, "1/100000")) << Contents(log);
    // mpirun hands SIGUSR1 on to all ranks.
    ASSERT_EQ(one_rank ? kill(ProcessOf(out, 1), SIGTERM) : kill(launcher, SIGUSR1), 0);
    EXPECT_EQ(Await(launcher), 0) << Contents(log);
    EXPECT_NE(Contents(log).find("updates; --resume goes on"), std::string::npos) << Contents(log);
    const int64_t steps = Log(out).back()["step"];
    EXPECT_TRUE(std::filesystem::exists(folder_ / out / fmt::format("checkpoints/step-{:08d}", steps)));

    // What was saved goes on as if nothing had been.
    std::vector<std::string> more = Endless(std::to_string(steps + 2)), resumed = more;
    resumed.push_back("--resume");
    ASSERT_EQ(Await(Spawn(UnderMpi(2, Arguments(out, resumed)), File(log))), 0) << Contents(log);
    ASSERT_EQ(Await(Spawn(UnderMpi(2, Arguments(out + "-whole", more)), File(log))), 0) << Contents(log);
    EXPECT_EQ(Contents(out + "/model/model.safetensors"), Contents(out + "-whole/model/model.safetensors"));
  }
}

TEST_F(MpiTrainTest, MpirunThatIsToldToEndGivesTheRanksTimeToSave) {
  // Of these seconds mpirun takes as many before it sends SIGTERM as between that and SIGKILL.
  std::vector<std::string> command = UnderMpi(2, Arguments("run", Endless("100000")));
  command.insert(command.begin() + 1, {"--mca", "odls_base_sigkill_timeout", "5"});
  const pid_t launcher = Spawn(command, File("log"));
  ASSERT_TRUE(WaitForText("log", "1/100000")) << Contents("log");
  ASSERT_EQ(kill(launcher, SIGTERM), 0);
  EXPECT_NE(Await(launcher), 0);
  EXPECT_NE(Contents("log").find("updates; --resume goes on"), std::string::npos) << Contents("log");
  const int64_t steps = Log("run").back()["step"];
  EXPECT_TRUE(std::filesystem::exists(folder_ / fmt::format("run/checkpoints/step-{:08d}/manifest.json", steps)));
}

}  // namespace
}  // namespace hadal::e2e
