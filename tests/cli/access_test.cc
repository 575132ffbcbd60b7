// hadal user, client, token, cert: what scripts and people see.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

class AccessVerbs : public CliTest {
 protected:
  Outcome Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.end(), {"--state", File("state")});
    return Hadal(arguments, {.input = input});
  }
  json List(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.out, nullptr, false);
  }
};

TEST_F(AccessVerbs, IssuePrintsOneTokenAndNothingElse) {
  const Outcome issued = Run({"token", "issue", "--client", "ci", "--scope", "infer"});
  EXPECT_EQ(issued.code, 0) << issued.err;
  EXPECT_THAT(issued.out, MatchesRegex("[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\n"));
  EXPECT_EQ(issued.err, "");
  struct stat info {};
  ASSERT_EQ(stat(File("state").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  const Outcome key = Run({"token", "issue", "--client", "ci", "--scope", "infer,metrics", "--api-key"});
  EXPECT_THAT(key.out, MatchesRegex("hk_[0-9a-f]+_[A-Za-z0-9_-]+\n"));
  const json tokens = List({"token", "list"});
  ASSERT_EQ(tokens.size(), 2u);
  for (const json& token : tokens) {
    EXPECT_EQ(token["subject"], "client:ci");
    EXPECT_EQ(token["state"], "valid");
  }
}

TEST_F(AccessVerbs, RevokeByIdAndByClient) {
  const json issued = List({"token", "issue", "--client", "ci", "--lifetime", "15m"});
  Run({"token", "issue", "--client", "ci"});
  EXPECT_EQ(Run({"token", "revoke", issued["id"]}).code, 0);
  EXPECT_EQ(List({"token", "list"}).size(), 1u);
  ExpectFailure(Run({"token", "revoke", issued["id"]}), "no token");
  EXPECT_EQ(Run({"token", "revoke", "--client", "ci"}).code, 0);
  EXPECT_EQ(List({"token", "list"}).size(), 0u);
  EXPECT_EQ(List({"token", "list", "--all"}).size(), 2u);
  ExpectFailure(Run({"token", "revoke"}), "--client");
}

TEST_F(AccessVerbs, MistakesAreNamed) {
  ExpectFailure(Run({"token", "issue", "--client", "ci", "--scope", "root"}), "infer, metrics, admin");
  ExpectFailure(Run({"token", "issue"}), "one of --client NAME and --user NAME");
  ExpectFailure(Run({"token", "issue", "--user", "nobody"}), "there is no user:nobody");
  ExpectFailure(Run({"token", "issue", "--client", "a b"}), "letters, digits");
  ExpectFailure(Run({"token", "issue", "--client", "ci", "--lifetime", "8"}), "is not a time");
  ExpectFailure(Run({"token", "issue", "--client", "ci", "--lifetime", "99999d"}), "is not a time");
  Write("open", "x");
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  ExpectFailure(Hadal({"token", "list", "--state", folder_.string()}), "chmod 700");
}

TEST_F(AccessVerbs, UsersComeWithPasswordsThatAreNeverArguments) {
  ExpectFailure(Run({"user", "add", "ann"}), "--password-file");
  ExpectFailure(Run({"user", "add", "ann", "--password-file", "-"}, "short\n"), "at least 10");
  const Outcome added = Run({"user", "add", "ann", "--scope", "infer,metrics", "--password-file", "-"},
                            "correct horse battery\n");
  EXPECT_EQ(added.code, 0) << added.err;
  EXPECT_THAT(added.out + added.err, Not(HasSubstr("horse")));
  ExpectFailure(Run({"user", "add", "ann", "--password-file", "-"}, "correct horse battery\n"), "already");
  Write("secret", "another good password\r\n");
  EXPECT_EQ(Run({"user", "passwd", "ann", "--password-file", File("secret")}).code, 0);
  EXPECT_EQ(Run({"user", "disable", "ann"}).code, 0);
  const json users = List({"user", "list"});
  ASSERT_EQ(users.size(), 1u);
  EXPECT_EQ(users[0]["name"], "ann");
  EXPECT_EQ(users[0]["scopes"], "infer metrics");
  EXPECT_EQ(users[0]["state"], "disabled");
  ExpectFailure(Run({"token", "issue", "--user", "ann"}), "disabled");
  EXPECT_EQ(Run({"user", "enable", "ann"}).code, 0);
  EXPECT_EQ(Run({"token", "issue", "--user", "ann"}).code, 0);
  ExpectFailure(Run({"user", "disable", "bob"}), "there is no user:bob");
}

TEST_F(AccessVerbs, ATerminalDoesNotShowThePassword) {
  Terminal terminal({"user", "add", "ann", "--state", File("state")}, {});
  ASSERT_TRUE(terminal.WaitFor("New password: "));
  terminal.Type("correct horse battery\n");
  ASSERT_TRUE(terminal.WaitFor("Again: "));
  terminal.Type("correct horse battery\n");
  EXPECT_EQ(terminal.Wait(), 0) << terminal.shown();
  EXPECT_THAT(terminal.shown(), Not(HasSubstr("horse")));
  Terminal differs({"user", "passwd", "ann", "--state", File("state")}, {});
  ASSERT_TRUE(differs.WaitFor("New password: "));
  differs.Type("correct horse battery\n");
  ASSERT_TRUE(differs.WaitFor("Again: "));
  differs.Type("correct horse batterx\n");
  EXPECT_EQ(differs.Wait(), 2);
  EXPECT_THAT(differs.shown(), HasSubstr("differ"));
}

TEST_F(AccessVerbs, ClientsGetASecretOnce) {
  const Outcome added = Run({"client", "add", "robot"});
  EXPECT_THAT(added.out, MatchesRegex("[A-Za-z0-9_-]+\n"));
  EXPECT_EQ(added.out.size(), 44u);
  ExpectFailure(Run({"client", "add", "robot"}), "already");
  EXPECT_EQ(Run({"client", "quota", "robot", "--requests-per-minute", "60"}).code, 0);
  ExpectFailure(Run({"client", "quota", "nobody"}), "there is no client:nobody");
  EXPECT_EQ(List({"client", "list"})[0]["secret"], "yes");
  EXPECT_EQ(Run({"client", "disable", "robot"}).code, 0);
  EXPECT_EQ(Run({"token", "rotate", "--algorithm", "EdDSA"}).code, 0);
}

TEST_F(AccessVerbs, CertificatesOfAnOwnCa) {
  ExpectFailure(Run({"cert", "issue", "models.example", "--out", File("m")}), "hadal cert init");
  EXPECT_EQ(Run({"cert", "init"}).code, 0);
  ExpectFailure(Run({"cert", "init"}), "there is a CA");
  const json issued = List({"cert", "issue", "models.example", "--out", File("m")});
  EXPECT_EQ(issued["subject"], "CN=models.example");
  struct stat info {};
  ASSERT_EQ(stat(File("m.key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_THAT(Contents("m.crt"), HasSubstr("BEGIN CERTIFICATE"));
  ExpectFailure(Run({"cert", "issue", "x", "--host", "a b", "--out", File("x")}), "neither a DNS name");
  EXPECT_EQ(Run({"cert", "issue", "robot", "--client", "--out", File("robot")}).code, 0);
  // What was made is written down, with who made it; what failed made nothing.
  const json acts = List({"token", "audit"});
  ASSERT_EQ(acts.size(), 3u) << acts;
  EXPECT_EQ(acts[0]["event"], "ca_made");
  EXPECT_EQ(acts[1]["event"], "certificate_issued");
  const std::string detail = acts[1]["detail"], sha256 = issued["sha256"];
  EXPECT_EQ(detail, "server models.example hosts models.example, sha256 " + sha256);
  EXPECT_THAT(std::string(acts[2]["detail"]), StartsWith("client robot hosts , sha256 "));
  EXPECT_EQ(acts[1]["actor"], "uid:" + std::to_string(getuid()));
}

TEST_F(AccessVerbs, HelpHasExamples) {
  for (const char* verb : {"user", "client", "token", "cert"}) {
    const Outcome help = Hadal({verb, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_THAT(help.out, HasSubstr("Example")) << verb;
  }
}

}  // namespace
}  // namespace hadal::e2e
