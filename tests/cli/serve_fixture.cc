#include "cli/serve_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

namespace hadal::e2e {

void ServeTest::SetUp() {
  CliTest::SetUp();
  Start();
}

void ServeTest::TearDown() {
  if (pid_ > 0) EXPECT_EQ(End(), 0) << Contents("log");
  CliTest::TearDown();
}

void ServeTest::Spawn() {
  const std::string model = ServedModel(), state = File("state"), ready = File("ready"), log = File("log");
  std::vector<std::string> words{HADAL_BINARY, "serve",       "--model", model,  "--state",      state,
                                 "--listen",   "127.0.0.1:0", "--name",  "test", "--ready-file", ready,
                                 "--threads",  "2",           "--drain", "5"};
  for (const std::string& flag : MoreFlags()) words.push_back(flag);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    if (log_fd_ >= 0)
      posix_spawn_file_actions_adddup2(&actions, log_fd_, fd);
    else
      posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  }
  // Hadal() ignores SIGPIPE in this process; a shell's children do not.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  ASSERT_EQ(posix_spawn(&pid_, HADAL_BINARY, &actions, &attributes, arguments.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
}

void ServeTest::Start() {
  Spawn();
  ASSERT_GT(pid_, 0);
  const std::string ready = File("ready");
  // The file appears by rename, whole; until then the only other end is that the process dies.
  for (int i = 0; i < 6000 && !std::filesystem::exists(ready); ++i) {
    ASSERT_EQ(waitpid(pid_, nullptr, WNOHANG), 0) << Contents("log");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  address_ = Contents("ready");
  address_.resize(address_.find('\n'));
}

int ServeTest::End() {
  kill(pid_, SIGTERM);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string ServeTest::Token(const std::string& client, const std::string& scope,
                             const std::vector<std::string>& more) {
  std::vector<std::string> words{"token",    "issue", "--state", File("state"),
                                 "--client", client,  "--scope", scope};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome issued = Hadal(words);
  EXPECT_EQ(issued.code, 0) << issued.err;
  return issued.out.substr(0, issued.out.find('\n'));
}

ServeTest::Reply ServeTest::Curl(const std::string& path, const std::string& token, const std::string& body,
                                 const std::string& more) {
  Write("headers", token.empty() ? "X-None: 1\n" : "Authorization: Bearer " + token + "\n");
  std::string command = "curl -sS -N --max-time 60 --cacert " + File("state/ca.crt") + " -H @" +
                        File("headers") + " -w '\\n%{http_code}' " + more;
  if (!body.empty()) {
    Write("body", body);
    command += " -H 'content-type: application/json' --data-binary @" + File("body");
  }
  command += " https://" + address_ + path + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, got);
  pclose(pipe);
  const size_t end = text.rfind('\n');
  return {std::atoi(text.c_str() + end + 1), text.substr(0, end)};
}

}  // namespace hadal::e2e
