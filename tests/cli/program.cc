#include "cli/program.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace hadal::e2e {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kLimitSeconds = 120;

double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<std::string> Environment(const std::vector<std::string>& extra) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (!std::string(*entry).starts_with("HADAL_")) all.emplace_back(*entry);
  for (const std::string& entry : extra) {
    const std::string name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(all, [&](const std::string& old) { return old.starts_with(name); });
    all.push_back(entry);
  }
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> CommandLine(const std::vector<std::string>& arguments) {
  std::vector<std::string> all{HADAL_BINARY};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

int ExitCode(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

struct Pipe {
  Pipe() { EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0); }
  ~Pipe() {
    Close(0);
    Close(1);
  }
  void Close(int end) {
    if (ends[end] >= 0) close(ends[end]);
    ends[end] = -1;
  }
  int ends[2];
};

/// Feeds and reads the child's pipes until both outputs are closed or time is up.
void Exchange(Pipe& in, Pipe& out, Pipe& err, const std::string& input, Outcome& outcome) {
  const Clock::time_point start = Clock::now();
  size_t sent = 0;
  fcntl(in.ends[1], F_SETFL, O_NONBLOCK);
  while ((out.ends[0] >= 0 || err.ends[0] >= 0) && Since(start) < kLimitSeconds) {
    if (sent == input.size()) in.Close(1);
    pollfd fds[3] = {{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}, {in.ends[1], POLLOUT, 0}};
    poll(fds, 3, 1000);
    char buffer[65536];
    if ((fds[0].revents & (POLLIN | POLLHUP)) != 0) {
      const ssize_t count = read(out.ends[0], buffer, sizeof buffer);
      if (count > 0) outcome.out.append(buffer, static_cast<size_t>(count));
      if (count <= 0) out.Close(0);
    }
    if ((fds[1].revents & (POLLIN | POLLHUP)) != 0) {
      const ssize_t count = read(err.ends[0], buffer, sizeof buffer);
      if (count > 0) outcome.err.append(buffer, static_cast<size_t>(count));
      if (count <= 0) err.Close(0);
    }
    if ((fds[2].revents & (POLLOUT | POLLERR)) != 0) {
      const ssize_t count = write(in.ends[1], input.data() + sent, input.size() - sent);
      if (count > 0) sent += static_cast<size_t>(count);
      if (count < 0 && errno != EAGAIN) sent = input.size();
    }
  }
}

/// The exit code, or -1 after ending a child that did not end.
int WaitFor(pid_t pid, double seconds) {
  const Clock::time_point start = Clock::now();
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (Since(start) > seconds) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      return -1;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return ExitCode(status);
}

}  // namespace

Outcome Hadal(const std::vector<std::string>& arguments, const Settings& settings) {
  signal(SIGPIPE, SIG_IGN);  // a child that ends early does not end the test
  Pipe in, out, err;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.ends[0], 0);
  if (settings.out_file.empty())
    posix_spawn_file_actions_adddup2(&actions, out.ends[1], 1);
  else
    posix_spawn_file_actions_addopen(&actions, 1, settings.out_file.c_str(), O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], 2);
  std::vector<std::string> command = CommandLine(arguments), environment = Environment(settings.environment);
  Outcome outcome;
  pid_t pid = -1;
  const int spawned = posix_spawn(&pid, HADAL_BINARY, &actions, nullptr, Pointers(command).data(),
                                  Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(spawned, 0) << HADAL_BINARY;
  if (spawned != 0) return outcome;
  in.Close(0);
  out.Close(1);
  err.Close(1);
  Exchange(in, out, err, settings.input, outcome);
  outcome.code = WaitFor(pid, 10);
  return outcome;
}

Terminal::Terminal(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
  std::vector<std::string> command = CommandLine(arguments), variables = Environment(environment);
  const std::vector<char*> argv = Pointers(command), envp = Pointers(variables);
  winsize size = {};
  size.ws_row = 24;
  size.ws_col = 80;
  pid_ = forkpty(&master_, nullptr, nullptr, &size);
  if (pid_ == 0) {
    execve(HADAL_BINARY, argv.data(), envp.data());
    _exit(127);
  }
  EXPECT_GT(pid_, 0);
}

Terminal::~Terminal() {
  if (status_ < 0 && pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (master_ >= 0) close(master_);
}

void Terminal::Type(const std::string& keys) {
  EXPECT_EQ(write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

bool Terminal::ReadSome(double seconds) {
  pollfd fd = {master_, POLLIN, 0};
  if (poll(&fd, 1, static_cast<int>(seconds * 1000)) <= 0) return true;
  char buffer[65536];
  const ssize_t count = read(master_, buffer, sizeof buffer);
  if (count <= 0) return false;
  shown_.append(buffer, static_cast<size_t>(count));
  return true;
}

bool Terminal::WaitFor(const std::string& text, double seconds) {
  const Clock::time_point start = Clock::now();
  bool open = true;
  for (;;) {
    if (const size_t found = shown_.find(text, seen_); found != std::string::npos) {
      seen_ = found + text.size();
      return true;
    }
    if (!open || Since(start) > seconds) return false;
    open = ReadSome(0.05);
  }
}

bool Terminal::IsRunning() {
  int status = 0;
  if (status_ < 0 && waitpid(pid_, &status, WNOHANG) == pid_) status_ = ExitCode(status);
  return status_ < 0;
}

int Terminal::Wait(double seconds) {
  const Clock::time_point start = Clock::now();
  while (IsRunning() && Since(start) < seconds) ReadSome(0.02);
  while (Since(start) < seconds && ReadSome(0.02)) {  // what it wrote before it ended
  }
  return status_;
}

void CliTest::SetUp() {
  std::string name = (std::filesystem::temp_directory_path() / "hadal_cli_XXXXXX").string();
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  folder_ = name;
}

void CliTest::TearDown() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string CliTest::Model() {
  const std::string model = File("model");
  if (std::filesystem::exists(model)) return model;
  const Outcome made = Hadal({"synth", "--shape", "v3-tiny", "--seed", "1", "--out", model});
  EXPECT_EQ(made.code, 0) << made.err;
  return model;
}

void CliTest::Write(const std::string& name, const std::string& text) const {
  std::ofstream(folder_ / name, std::ios::binary) << text;
}

std::string CliTest::Contents(const std::string& name) const {
  std::ostringstream text;
  text << std::ifstream(folder_ / name, std::ios::binary).rdbuf();
  return text.str();
}

std::string CliTest::Copy(const std::string& from, const std::string& name) const {
  std::filesystem::copy(from, folder_ / name, std::filesystem::copy_options::recursive);
  return File(name);
}

void ExpectFailure(const Outcome& outcome, const std::string& part) {
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(outcome.err.starts_with("hadal: ")) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
}

}  // namespace hadal::e2e
