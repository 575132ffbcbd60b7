// hadal serve, end to end: the real server over TLS, tokens from the command line, curl as the client.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/program.h"
#include "model/checkpoint.h"

extern char** environ;

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

class ServeTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    Start();
  }
  void TearDown() override {
    if (pid_ > 0) EXPECT_EQ(End(), 0);
    CliTest::TearDown();
  }

  void Start() {
    const std::string model = Model(), state = File("state"), ready = File("ready"), log = File("log");
    std::vector<std::string> words{HADAL_BINARY, "serve",        "--model", model,  "--state",       state,
                                   "--listen",   "127.0.0.1:0",  "--name",  "test", "--ready-file",  ready,
                                   "--threads",  "2",            "--drain", "5",    "--max-running", "4"};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO})
      posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ASSERT_EQ(posix_spawn(&pid_, HADAL_BINARY, &actions, nullptr, arguments.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    // The file appears by rename, whole; until then the only other end is that the process dies.
    for (int i = 0; i < 6000 && !std::filesystem::exists(ready); ++i) {
      ASSERT_EQ(waitpid(pid_, nullptr, WNOHANG), 0) << Contents("log");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    address_ = Contents("ready");
    address_.resize(address_.find('\n'));
  }

  /// SIGTERM; the exit code.
  int End() {
    kill(pid_, SIGTERM);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::string Token(const std::string& client, const std::string& scope) {
    const Outcome issued = Hadal({"token", "issue", "--state", File("state"), "--client", client, "--scope", scope});
    EXPECT_EQ(issued.code, 0) << issued.err;
    return issued.out.substr(0, issued.out.find('\n'));
  }

  struct Reply {
    int status = 0;
    std::string body;
  };
  /// One request by curl, which trusts the internal CA alone. The token is read from a file, not a command line.
  Reply Curl(const std::string& path, const std::string& token, const std::string& body = "",
             const std::string& more = "") {
    Write("headers", token.empty() ? "X-None: 1\n" : "Authorization: Bearer " + token + "\n");
    std::string command = "curl -sS -N --max-time 60 --cacert " + File("state/ca.crt") + " -H @" + File("headers") +
                          " -w '\\n%{http_code}' " + more;
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

  pid_t pid_ = -1;
  std::string address_;
};

TEST_F(ServeTest, AnswersOverTlsWhoeverHasATokenOfTheScope) {
  // Each token is issued by another process while the server runs.
  for (const char* client : {"a", "b", "c"}) {
    const Reply models = Curl("/v1/models", Token(client, "infer"));
    EXPECT_EQ(models.status, 200) << models.body;
    EXPECT_THAT(models.body, HasSubstr("\"id\":\"test\""));
  }
  EXPECT_EQ(Curl("/v1/models", "").status, 401);
  EXPECT_EQ(Curl("/v1/models", Token("m", "metrics")).status, 403);
  EXPECT_EQ(Curl("/readyz", "").status, 200);
  EXPECT_EQ(Curl("/livez", "").status, 200);
  EXPECT_EQ(Curl("/nothing", Token("a", "infer")).status, 404);
}

TEST_F(ServeTest, EveryRouteButTheNamedPublicOnesNeedsAToken) {
  for (const char* path : {"/v1/models", "/v1/models/test", "/metrics"}) EXPECT_EQ(Curl(path, "").status, 401) << path;
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/tokenize", "/v1/detokenize"})
    EXPECT_EQ(Curl(path, "", "{}").status, 401) << path;
}

TEST_F(ServeTest, TheSameTokensStreamedOrNotAndOverTheTerminal) {
  const std::string token = Token("a", "infer");
  const char* request = R"({"model":"test","prompt":[5,6,7,8],"max_tokens":12,"temperature":0,"ignore_eos":true,)"
                        R"("return_token_ids":true,"stream":%s})";
  char body[256];
  std::snprintf(body, sizeof(body), request, "false");
  const Reply whole = Curl("/v1/completions", token, body);
  ASSERT_EQ(whole.status, 200) << whole.body;
  const json answer = json::parse(whole.body);
  const std::vector<int> ids = answer["choices"][0]["token_ids"];
  EXPECT_EQ(ids.size(), 12u);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);

  std::snprintf(body, sizeof(body), request, "true");
  const Reply stream = Curl("/v1/completions", token, body);
  std::vector<int> streamed;
  std::string text;
  for (size_t at = 0; (at = stream.body.find("data: {", at)) != std::string::npos;) {
    const size_t end = stream.body.find('\n', at);
    const json event = json::parse(stream.body.substr(at + 6, end - at - 6));
    for (const json& choice : event["choices"]) {
      text += choice["text"].get<std::string>();
      if (choice.contains("token_ids"))
        for (const json& id : choice["token_ids"]) streamed.push_back(id);
    }
    at = end;
  }
  EXPECT_EQ(streamed, ids);
  EXPECT_EQ(text, answer["choices"][0]["text"].get<std::string>());
  EXPECT_THAT(stream.body, HasSubstr("data: [DONE]"));

  const Outcome local = Hadal({"logits", "--model", Model(), "--ids", "5,6,7,8", "--last", "1", "--greedy", "12",
                               "--out", File("l.safetensors")});
  ASSERT_EQ(local.code, 0) << local.err;
  const auto file = Checkpoint::OpenFile(File("l.safetensors"));
  ASSERT_TRUE(file);
  const std::vector<int64_t> alone = ReadI64(**file, "greedy.0").value();
  EXPECT_EQ(std::vector<int>(alone.begin(), alone.end()), ids);
}

TEST_F(ServeTest, MetricsAndRefusalsAndAGoodRequestAfterwards) {
  const std::string token = Token("a", "infer");
  EXPECT_EQ(Curl("/v1/chat/completions", token, "{\"model\":\"test\"").status, 400);
  EXPECT_EQ(Curl("/v1/chat/completions", token, R"({"model":"other","messages":[{"role":"user","content":"x"}]})").status,
            404);
  EXPECT_EQ(Curl("/v1/models", token, "", "-H 'transfer-encoding: identity' -d x").status, 400);
  const Reply good = Curl("/v1/chat/completions", token,
                          R"({"model":"test","messages":[{"role":"user","content":"x"}],"max_tokens":4})");
  EXPECT_EQ(good.status, 200) << good.body;
  const Reply metrics = Curl("/metrics", Token("m", "metrics"));
  EXPECT_EQ(metrics.status, 200);
  EXPECT_THAT(metrics.body, HasSubstr("hadal_http_requests_total{code=\"404\",route=\"/v1/chat/completions\"} 1"));
  EXPECT_THAT(metrics.body, HasSubstr("hadal_time_to_first_token_seconds_count"));
}

TEST_F(ServeTest, PasswordGrantOverTheTokenEndpoint) {
  Write("password", "correct horse battery");
  const Outcome added = Hadal({"user", "add", "ada", "--state", File("state"), "--scope", "infer", "--password-file",
                               File("password")});
  ASSERT_EQ(added.code, 0) << added.err;
  const Reply granted = Curl("/token", "", "",
                             "-d 'grant_type=password&username=ada&password=correct%20horse%20battery&scope=infer'");
  ASSERT_EQ(granted.status, 200) << granted.body;
  const json tokens = json::parse(granted.body);
  EXPECT_EQ(Curl("/v1/models", tokens["access_token"].get<std::string>()).status, 200);
  EXPECT_THAT(Curl("/token", "", "", "-d 'grant_type=password&username=ada&password=wrong'").body,
              HasSubstr("invalid_grant"));
}

TEST_F(ServeTest, DrainsOnSigtermAndStartsAgainOnTheSameState) {
  const std::string token = Token("a", "infer");
  EXPECT_EQ(End(), 0) << Contents("log");
  EXPECT_THAT(Contents("log"), HasSubstr("draining"));
  std::filesystem::remove(File("ready"));
  Start();
  EXPECT_EQ(Curl("/v1/models", token).status, 200) << "a token outlives a restart";
}

}  // namespace
}  // namespace hadal::e2e
