// What the tests of hadal train share: data, a fixture, and processes of their own.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/program.h"
#include "train/data/document_encoder.h"
#include "train/data/token_shards.h"

namespace hadal::e2e {

using Json = nlohmann::json;

/// Documents that count upwards: something that a small model learns in a few steps. `model`: whose tokenizer they are
/// said to be of.
inline void WriteData(const Path& dir, const Path& model, int64_t documents, int64_t vocab) {
  std::filesystem::create_directories(dir);
  std::vector<int32_t> tokens;
  std::vector<uint8_t> flags;
  for (int64_t d = 0; d < documents; ++d)
    for (int64_t t = 0; t < 10 + d * 7 % 30; ++t) {
      tokens.push_back(static_cast<int32_t>((d * 31 + t * (1 + d % 3)) % vocab));
      flags.push_back((t == 0 ? train::kDocumentStart : 0) | train::kLearnt);
    }
  train::TokenIndex index{.vocab_size = vocab, .tokenizer = train::TokenizerFingerprint(model).value(), .shards = {}};
  index.shards.push_back(train::WriteTokenShard(dir / train::TokenShardName(0), tokens, flags).value());
  ASSERT_TRUE(train::WriteTokenIndex(dir, index));
}

class TrainTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    WriteData(folder_ / "data", Model(), 400, 256);
    WriteData(folder_ / "held", Model(), 20, 256);
  }

  /// Arguments of a short run into `out`, with `more`, which may give values of the same flags.
  std::vector<std::string> Arguments(const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"train", "--model", Model(), "--out", File(out), "--fresh"};
    const std::pair<std::string, std::string> usual[] = {
        {"--data", File("data")}, {"--sequence-length", "32"}, {"--global-batch-size", "8"}, {"--warmup-steps", "2"}};
    for (const auto& [flag, value] : usual)
      if (std::ranges::find(more, flag) == more.end()) all.insert(all.end(), {flag, value});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  /// The lines of updates in a run's log.
  std::vector<Json> Log(const std::string& out) {
    std::vector<Json> lines;
    std::istringstream text(Contents(out + "/log.jsonl"));
    for (std::string line; std::getline(text, line);)
      if (Json json = Json::parse(line); json.contains("step")) lines.push_back(std::move(json));
    return lines;
  }
};

/// Starts `command`, and returns its process id; output goes to `log`.
inline pid_t Spawn(const std::vector<std::string>& command, const std::string& log) {
  const pid_t child = fork();
  if (child != 0) return child;
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

inline int Await(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

class MpiTrainTest : public TrainTest {
 protected:
  std::vector<std::string> UnderMpi(int ranks, const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {"mpirun", "--oversubscribe", "-n", std::to_string(ranks), HADAL_BINARY};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }

  /// The process of a rank, by its own record in the run folder; 0: there is none yet.
  pid_t ProcessOf(const std::string& out, int rank) {
    int64_t pid = 0;
    const std::string record = Contents(out + "/ranks/rank-" + std::to_string(rank) + ".flight");
    if (record.size() >= 24) std::memcpy(&pid, record.data() + 16, sizeof pid);
    return static_cast<pid_t>(pid);
  }

  /// Waits until a file holds `text`; false after a minute.
  bool WaitForText(const std::string& file, const std::string& text) {
    for (int i = 0; i < 6000; ++i) {
      if (Contents(file).find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
};

}  // namespace hadal::e2e
