// Starts the binary as a user would: with arguments and standard input, or in a terminal.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/file.h"

namespace hadal::e2e {

struct Outcome {
  int code = -1;  // exit code; 128 + N: signal N; -1: it ran too long and was ended
  std::string out, err;
};

struct Settings {
  std::string input = {};                     // of standard input
  std::vector<std::string> environment = {};  // "NAME=value", beside what is inherited
  std::string out_file = {};                  // standard output goes there instead
};

/// Runs hadal to its end. Of the environment's HADAL_ variables it sees only those in `settings`.
Outcome Hadal(const std::vector<std::string>& arguments, const Settings& settings = {});

/// hadal in a terminal of 80 columns.
class Terminal {
 public:
  Terminal(const std::vector<std::string>& arguments, const std::vector<std::string>& environment);
  ~Terminal();

  /// What is typed; "\x03" is Ctrl-C, "\x04" Ctrl-D.
  void Type(const std::string& keys);
  /// Waits until the terminal has shown `text` beyond what earlier calls waited for.
  bool WaitFor(const std::string& text, double seconds = 30);
  /// The exit code; -1 if it does not end.
  int Wait(double seconds = 30);
  bool IsRunning();
  /// Everything shown so far.
  const std::string& shown() const { return shown_; }

 private:
  bool ReadSome(double seconds);
  int master_ = -1;
  pid_t pid_ = -1;
  int status_ = -1;
  std::string shown_;
  size_t seen_ = 0;
};

/// A folder of its own for each test, removed afterwards, with the small model `model()` in it.
class CliTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// A folder of random weights, bf16, seed 1, made on first use.
  std::string Model();
  static std::string Golden(const std::string& name) {
    return std::string(HADAL_TEST_DATA) + "/golden/" + name;
  }
  std::string File(const std::string& name) const { return (folder_ / name).string(); }
  void Write(const std::string& name, const std::string& text) const;
  std::string Contents(const std::string& name) const;
  /// A copy of a folder that a test may damage.
  std::string Copy(const std::string& from, const std::string& name) const;

  Path folder_;
};

/// Exit code 2, nothing on standard output, and one line on standard error that begins with "hadal: " and has
/// `part` in it.
void ExpectFailure(const Outcome& outcome, const std::string& part);

}  // namespace hadal::e2e
