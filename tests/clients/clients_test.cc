// The clients that people use: each file of theirs runs in node against a real server over TLS.
#include <cstdlib>
#include <filesystem>

#include "cli/serve_fixture.h"

namespace hadal::e2e {
namespace {

class ClientsTest : public ServeTest {
 protected:
  /// Node's exit code for `command`, a file of this folder with its arguments: 0 if everything in it passed.
  /// Secrets go by the environment, which nobody else can read.
  int RunNode(const std::string& command) {
    const std::string folder = HADAL_CLIENT_TESTS;
    if (!std::filesystem::exists(folder + "/node_modules")) {
      ADD_FAILURE() << folder << "/node_modules is missing; run scripts/setup.sh, which installs it";
      return -1;
    }
    setenv("HADAL_URL", ("https://" + address_).c_str(), 1);
    setenv("HADAL_TOKEN", Token("client", "infer").c_str(), 1);
    setenv("HADAL_METRICS_TOKEN", Token("prometheus", "metrics").c_str(), 1);
    setenv("HADAL_API_KEY", Token("app", "infer", {"--api-key"}).c_str(), 1);
    setenv("NODE_EXTRA_CA_CERTS", File("state/ca.crt").c_str(), 1);
    return std::system(("node " + folder + "/" + command + " 1>&2").c_str());
  }
};

class Clients : public ClientsTest {
 protected:
  // Four requests run and four wait: service.mjs knows.
  std::vector<std::string> MoreFlags() const override {
    return {"--max-running", "4", "--max-waiting", "4", "--context", "2048"};
  }
};

TEST_F(Clients, OpenAi) { EXPECT_EQ(RunNode("openai.mjs"), 0); }
TEST_F(Clients, Anthropic) { EXPECT_EQ(RunNode("anthropic.mjs"), 0); }

/// The default model knows JSON and calls of tools, so that forms meet what they are for.
class Forms : public ClientsTest {
 protected:
  std::string ServedModel() override { return HADAL_DEFAULT_MODEL; }
};

TEST_F(Forms, StructuredOutput) { EXPECT_EQ(RunNode("structured.mjs"), 0); }

/// Alone without a prefix cache, then in company with one that is too small for all.
class Determinism : public ClientsTest {
 protected:
  std::vector<std::string> MoreFlags() const override {
    if (alone_) return {"--max-running", "1", "--context", "256", "--no-prefix-cache"};
    return {"--max-running", "8", "--context", "256", "--cache-sequences", "2", "--chunk", "48"};
  }
  bool alone_ = true;
};

TEST_F(Determinism, TheSameTokensAloneAndInAnyCompany) {
  ASSERT_EQ(RunNode("determinism.mjs alone " + File("answers.json")), 0);
  ASSERT_EQ(End(), 0) << Contents("log");
  std::filesystem::remove(File("ready"));
  alone_ = false;
  Start();
  EXPECT_EQ(RunNode("determinism.mjs crowd " + File("answers.json")), 0);
}

}  // namespace
}  // namespace hadal::e2e
