// hadal serve, end to end: the real server over TLS, tokens from the command line, curl as the client.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "cli/serve_fixture.h"
#include "model/checkpoint.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

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

TEST_F(ServeTest, EveryRouteButTheNamedPublicOnesNeedsATokenOfItsScope) {
  const std::set<std::string> open = {"GET /livez", "GET /readyz", "POST /token", "GET /.well-known/jwks.json",
                                      "GET /.well-known/oauth-authorization-server"};
  // The server's own table: a route that is new is walked, too.
  const Reply table = Curl("/routes", Token("root", "admin"));
  ASSERT_EQ(table.status, 200) << table.body;
  const json routes = json::parse(table.body)["routes"];
  const std::map<std::string, std::string> other = {{"infer", Token("m", "metrics")}, {"metrics", Token("i", "infer")},
                                                    {"admin", Token("i", "infer")}};
  std::set<std::string> seen, paths;
  for (const json& route : routes) {
    const std::string method = route["method"], path = route["path"], scope = route["scope"];
    SCOPED_TRACE(method + " " + path);
    seen.insert(method + " " + path);
    paths.insert(path);
    const std::string body = method == "GET" ? "" : "{}", as = "-X " + method;
    const int status = Curl(path, "", body, as).status;
    if (open.contains(method + " " + path)) {
      EXPECT_EQ(scope, "");
      EXPECT_NE(status, 403);
      continue;
    }
    EXPECT_EQ(status, 401);
    ASSERT_TRUE(other.contains(scope)) << "'" << scope << "' is no scope that tokens have";
    EXPECT_EQ(Curl(path, other.at(scope), body, as).status, 403);
  }
  for (const std::string& route : open) EXPECT_TRUE(seen.contains(route)) << route;
  for (const char* path : {"/v1/models", "/v1/models/test", "/v1/chat/completions", "/v1/completions", "/v1/messages",
                           "/v1/messages/count_tokens", "/v1/tokenize", "/v1/detokenize", "/metrics", "/routes"})
    EXPECT_TRUE(paths.contains(path)) << path;
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

/// A server whose log goes into a pipe that nobody has open any more.
class ClosedLogTest : public ServeTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    log_fd_ = ends[1];
    Start();
    close(ends[0]);
    close(ends[1]);
  }
};

TEST_F(ClosedLogTest, ALogThatNobodyReadsEndsNoServer) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Curl("/v1/models", "").status, 401);  // each is a line
  EXPECT_EQ(End(), 0);
}

TEST_F(ServeTest, ASecondSignalCutsTheDrainShort) {
  const std::string token = Token("a", "infer");
  Write("header", "Authorization: Bearer " + token + "\n");
  // Answers as long as the context, several at once, so that they outlast the second signal.
  Write("body", R"({"model":"test","prompt":"a","max_tokens":2400,"ignore_eos":true,"stream":true,"n":4})");
  std::thread client([&] {
    const std::string command = fmt::format(
        "curl -sN --cacert {} -H @{} -H 'Content-Type: application/json' -d @{} https://{}/v1/completions > {}",
        File("state/ca.crt"), File("header"), File("body"), address_, File("answer"));
    [[maybe_unused]] const int code = std::system(command.c_str());
  });
  for (int i = 0; i < 500 && Contents("answer").find("data:") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_EQ(kill(pid_, SIGTERM), 0);
  // Until it is heard: right after the first one it is taken for the same.
  for (int i = 0; i < 500 && Contents("log").find("are cancelled") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(pid_, SIGTERM);
  }
  EXPECT_EQ(End(), 1) << Contents("log");
  EXPECT_THAT(Contents("log"), HasSubstr("running requests are cancelled"));
  client.join();
}

/// Starts nothing by itself. The model is large enough to be caught while it is read.
class LoadingTest : public ServeTest {
 protected:
  void SetUp() override { CliTest::SetUp(); }
  std::string ServedModel() override {
    const std::string model = File("large");
    if (std::filesystem::exists(model)) return model;
    const Outcome made = Hadal({"synth", "--shape", "v3-small", "--weights", "fp8", "--out", model});
    EXPECT_EQ(made.code, 0) << made.err;
    return model;
  }
  std::vector<std::string> MoreFlags() const override { return {"--weights", "int4", "--context", "256"}; }
};

TEST_F(LoadingTest, SigtermGivesUpTheLoading) {
  Spawn();
  // The plan is told right before the weights are read.
  for (int i = 0; i < 60'000 && Contents("log").find(" of memory, ") == std::string::npos; ++i) {
    ASSERT_EQ(waitpid(pid_, nullptr, WNOHANG), 0) << Contents("log");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  kill(pid_, SIGHUP);  // which ends nothing
  EXPECT_EQ(End(), 0) << Contents("log");
  EXPECT_THAT(Contents("log"), HasSubstr("ended before the model was loaded"));
  EXPECT_THAT(Contents("log"), Not(HasSubstr("serving test"))) << "it has not loaded first";
  EXPECT_FALSE(std::filesystem::exists(File("ready")));
  Start();
  EXPECT_EQ(Curl("/v1/models", Token("a", "infer")).status, 200);
  EXPECT_THAT(Contents("log"), HasSubstr("serving test"));
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
