// The state folder under faults: killed at any moment, out of disk, damaged. What was acknowledged stays.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <fstream>
#include <random>

#include "server/access.h"
#include "server/access_test_util.h"
#include "server/certificates.h"
#include "server/tls.h"

namespace hadal {
namespace {

using namespace testing_access;

/// Runs `work` in a child process, to which it gives a pipe for its acknowledgements, and kills the child
/// after a while that differs from round to round.
/// @return the acknowledged lines.
template <typename Work>
std::vector<std::string> RunAndKill(int round, Work work) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    work(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  // The time counts from the first acknowledgement, so that every round is killed at work.
  std::mt19937 random(static_cast<unsigned>(round));
  const size_t lines = random() % 20;
  while (std::count(text.begin(), text.end(), '\n') <= static_cast<int64_t>(lines)) {
    const ssize_t n = read(ends[0], buffer, sizeof(buffer));
    if (n <= 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  usleep(random() % 3000);
  kill(child, SIGKILL);
  for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  waitpid(child, nullptr, 0);
  std::vector<std::string> acknowledged;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    acknowledged.push_back(text.substr(at, end - at));
  EXPECT_FALSE(acknowledged.empty());
  return acknowledged;
}

void Acknowledge(int fd, const std::string& text) {
  const std::string line = text + "\n";
  if (write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(1);
}

TEST(StateFaults, WhatWasAcknowledgedOutlastsAKill) {
  TempFolder temp;
  std::vector<std::string> all;
  for (int round = 0; round < 12; ++round) {
    const auto lines = RunAndKill(round, [&](int fd) {
      AccessState state = Must(OpenAccessState(temp.path()));
      const std::string name = fmt::format("client:c{}", round);
      Must(state.db->AddAccount({.subject = name, .secret = "", .scopes = "infer", .created = 1}));
      for (;;) {
        const auto tokens =
            Must(state.issuer->Issue({.subject = name, .client = "c", .scopes = "infer"}, UnixSeconds()));
        Must(state.db->Audit({1, "token_issued", name, "", tokens.id}));
        Acknowledge(fd, tokens.id);
      }
    });
    all.insert(all.end(), lines.begin(), lines.end());
    const AccessState state = Must(OpenAccessState(temp.path()));
    for (const std::string& id : all)
      ASSERT_TRUE(Must(state.db->FindToken(id, TokenKind::kAccess)).usable) << "round " << round;
    ASSERT_GE(Must(state.db->ListAudit(1'000'000)).size(), all.size());
  }
  auto database = Must(Database::Open(temp.path() / "hadal.db"));
  auto check = Must(database.Prepare("PRAGMA integrity_check"));
  ASSERT_TRUE(Must(check.Step()));
  EXPECT_EQ(check.Text(0), "ok");
}

TEST(StateFaults, KeysAndCertificatesFitTogetherAfterAKill) {
  TempFolder temp;
  Must(OpenStateFolder(temp.path()));
  for (int round = 0; round < 12; ++round) {
    const auto lines = RunAndKill(round, [&](int fd) {
      const auto keys = Must(SigningKeys::Open(temp.path()));
      for (int i = 0;; ++i) {
        Must(keys->Rotate(i % 2 ? JwsAlgorithm::kEdDsa : JwsAlgorithm::kEs256));
        const std::string host = fmt::format("h{}-{}.test", round, i);
        Must(EnsureServerCertificate(temp.path(), {host}).map([](bool) {}));
        Acknowledge(fd, Must(keys->Current())->signer.kid);
      }
    });
    const auto keys = Must(SigningKeys::Open(temp.path()));
    const auto ring = Must(keys->Current());
    for (const std::string& kid : lines) EXPECT_NE(ring->verifiers.Find(kid), nullptr) << "round " << round;
    // A start makes good what was left between the key and its certificate.
    Must(EnsureServerCertificate(temp.path(), {"localhost"}).map([](bool) {}));
    const auto tls = TlsContext::Load({temp.path() / "server.crt", temp.path() / "server.key"});
    ASSERT_TRUE(tls) << tls.error().message;
  }
}

TEST(StateFaults, ADamagedDatabaseIsRefusedAndNamed) {
  TempFolder temp;
  Must(OpenStateFolder(temp.path()));
  {
    const auto db = Must(StateDb::Open(temp.path()));
    for (int i = 0; i < 200; ++i)
      Must(db->AddAccount(
          {.subject = fmt::format("client:c{}", i), .secret = "", .scopes = "infer", .created = 1}));
  }
  const Path file = temp.path() / "hadal.db";
  {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.write("this is not a database at all", 29);
  }
  const auto opened = StateDb::Open(temp.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kDataLoss);
  EXPECT_NE(opened.error().message.find("damaged"), std::string::npos) << opened.error().message;
  EXPECT_EQ(Access::Open({.state = temp.path()}).error().code, Code::kDataLoss);
}

/// Exit status of the child that works on a full disk.
enum Outcome { kGood = 0, kNoMount = 10, kNeverFull, kWrongCode, kLost, kNoRecovery };

bool WriteText(const char* path, const std::string& text) {
  const int fd = open(path, O_WRONLY);
  const bool written = fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (fd >= 0) close(fd);
  return written;
}

/// A file system of 300 KiB on the folder, seen by this process alone and gone with it.
bool MountSmallDisk(const std::string& folder) {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  const bool alone = user == 0 ? unshare(CLONE_NEWNS) == 0
                               : unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
                                     WriteText("/proc/self/setgroups", "deny") &&
                                     WriteText("/proc/self/uid_map", fmt::format("0 {} 1", user)) &&
                                     WriteText("/proc/self/gid_map", fmt::format("0 {} 1", group));
  return alone && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", folder.c_str(), "tmpfs", 0, "size=300k,mode=700") == 0;
}

/// On a small file system of the child's own, accounts are added until the disk is full; what was added is
/// there, and when there is room again the work goes on.
int FillDisk(const std::string& folder) {
  if (!MountSmallDisk(folder)) return kNoMount;
  const Path state = folder;
  int added = 0;
  {
    const int ballast = open((state / "ballast").c_str(), O_CREAT | O_RDWR, 0600);
    if (posix_fallocate(ballast, 0, 64 << 10) != 0) return kNoMount;
    close(ballast);
    const auto db = StateDb::Open(state);
    if (!db) return kLost;
    Status status;
    for (; status && added < 100'000; ++added)
      status = (*db)->AddAccount({.subject = fmt::format("client:c{}", added),
                                  .secret = std::string(500, 'x'),
                                  .scopes = "infer",
                                  .created = 1});
    if (status) return kNeverFull;
    --added;
    if (status.error().code != Code::kResourceExhausted) return kWrongCode;
    // Reading goes on.
    if (!(*db)->FindAccount("client:c0")) return kLost;
    if (WriteStateFile(state / "server.key", std::string(1 << 20, 'x'))) return kWrongCode;
    if (std::filesystem::exists(state / "server.key")) return kLost;
  }
  std::filesystem::remove(state / "ballast");
  const auto db = StateDb::Open(state);
  if (!db) return kNoRecovery;
  for (int i = 0; i < added; ++i)
    if (!(*db)->FindAccount(fmt::format("client:c{}", i))) return kLost;
  return (*db)->AddAccount({.subject = "client:next", .secret = "", .scopes = "infer", .created = 1})
             ? kGood
             : kNoRecovery;
}

TEST(StateFaults, AFullDiskRefusesWhatIsNewAndLosesNothing) {
  TempFolder temp;
  const pid_t child = fork();
  if (child == 0) _exit(FillDisk(temp.path()));
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == kNoMount) GTEST_SKIP() << "no file system can be mounted here";
  EXPECT_EQ(WEXITSTATUS(status), kGood);
}

}  // namespace
}  // namespace hadal
