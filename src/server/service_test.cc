// The whole service over TLS, while its model is loaded and after: who gets what, and when.
#include "server/service.h"

#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "model/synth.h"
#include "server/access_test_util.h"
#include "server/http_test_util.h"

namespace hadal {
namespace {

using namespace testing_http;
using nlohmann::json;
using testing_access::Must;
using testing_access::TempFolder;

/// One model of random weights for all tests of this file.
class ServiceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ThreadPool pool(1);
    model_ = Path(testing::TempDir()) / fmt::format("hadal_service_{}", getpid());
    std::filesystem::remove_all(model_);
    Must(Synthesize({.shape = "v3-tiny", .out = model_, .layers = {}, .progress = {}}, pool));
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(model_); }

  ServiceOptions Options() {
    ServiceOptions options;
    options.model_dir = model_;
    options.model = "tiny";
    options.state = state_.path();
    options.server.listen = "127.0.0.1:0";
    return options;
  }
  void Start(ServiceOptions options) {
    service_ = Must(Service::Start(std::move(options)));
    port_ = std::stoi(service_->address().substr(service_->address().rfind(':') + 1));
  }
  void Load() {
    EngineOptions engine;
    engine.context = 128;
    engine.sequences = 2;
    engine.logit_rows = 2;
    engine.threads = 1;
    Must(service_->Serve(Must(Engine::Load(model_, engine)), {.max_running = 2, .max_waiting = 4}, {}));
  }
  std::string Token(const std::string& scopes) {
    const AccessState state = Must(OpenAccessState(state_.path()));
    (void)state.db->AddAccount(
        {.subject = "client:app", .secret = "", .scopes = "infer metrics", .created = 1});
    return Must(state.issuer->Issue({.subject = "client:app", .client = "app", .scopes = scopes},
                                    UnixSeconds()))
        .access;
  }
  Reply Ask(const std::string& method, const std::string& path, const std::string& token = "") {
    Client client(port_, {.trust = state_.path() / "ca.crt"});
    const std::string more = token.empty() ? "" : "Authorization: Bearer " + token + "\r\n";
    return client.Ask(
        method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + more +
        (method == "POST" ? "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" : "\r\n"));
  }

  static inline Path model_;
  TempFolder state_;
  std::unique_ptr<Service> service_;
  int port_ = 0;
};

TEST_F(ServiceTest, AnswersWhileTheModelIsLoaded) {
  Start(Options());
  EXPECT_EQ(Ask("GET", "/livez").status, 200);
  service_->SetLoadProgress(25, 100);
  const Reply loading = Ask("GET", "/readyz");
  EXPECT_EQ(loading.status, 503);
  EXPECT_EQ(loading.Header("retry-after"), "5");
  EXPECT_EQ(json::parse(loading.body),
            (json{{"status", "loading"}, {"weights", {{"verified", false}, {"percent", 25}}}}));
  // Who may not call is told nothing of the loading.
  EXPECT_EQ(Ask("GET", "/v1/models").status, 401);
  EXPECT_EQ(Ask("GET", "/v1/models", Token("metrics")).status, 403);
  const std::string token = Token("infer");
  for (const auto& [method, path] :
       std::vector<std::pair<std::string, std::string>>{{"GET", "/v1/models"},
                                                        {"POST", "/v1/chat/completions"},
                                                        {"POST", "/v1/completions"},
                                                        {"POST", "/v1/tokenize"}}) {
    const Reply reply = Ask(method, path, token);
    EXPECT_EQ(reply.status, 503) << path;
    EXPECT_EQ(reply.Header("retry-after"), "5");
    EXPECT_EQ(json::parse(reply.body)["error"]["code"], "model_loading");
  }
  const Reply metrics = Ask("GET", "/metrics", Token("metrics"));
  EXPECT_EQ(metrics.status, 200);
  EXPECT_NE(metrics.body.find("hadal_model_loaded 0\n"), std::string::npos);
  EXPECT_EQ(Ask("GET", "/.well-known/jwks.json").status, 200);

  Load();
  const Reply ready = Ask("GET", "/readyz");
  EXPECT_EQ(ready.status, 200);
  const json body = json::parse(ready.body);
  EXPECT_EQ(body["status"], "ready");
  EXPECT_EQ(body["weights"]["verified"], true);
  EXPECT_GT(body["weights"]["bytes"], 0);
  const Reply models = Ask("GET", "/v1/models", token);
  EXPECT_EQ(models.status, 200);
  EXPECT_EQ(json::parse(models.body)["data"][0]["id"], "tiny");
  EXPECT_EQ(json::parse(models.body)["data"][0]["max_model_len"], 128);
  EXPECT_NE(Ask("GET", "/metrics", Token("metrics")).body.find("hadal_model_loaded 1\n"), std::string::npos);
}

TEST_F(ServiceTest, PublishesWhereItIsAndKeepsItsIssuer) {
  const auto metadata = [&] { return json::parse(Ask("GET", "/.well-known/oauth-authorization-server").body); };
  Start(Options());
  EXPECT_EQ(metadata()["token_endpoint"], fmt::format("https://127.0.0.1:{}/token", port_));
  EXPECT_EQ(metadata()["issuer"], kDefaultIssuer);
  const std::string token = Token("infer");
  service_.reset();
  ServiceOptions everywhere = Options();
  everywhere.server.listen = "0.0.0.0:0";
  everywhere.hosts = {"localhost"};
  Start(std::move(everywhere));
  EXPECT_EQ(metadata()["jwks_uri"], fmt::format("https://localhost:{}/.well-known/jwks.json", port_));
  EXPECT_EQ(Ask("GET", "/v1/models", token).status, 503) << "the token is good; the model is not loaded";
  service_.reset();
  ServiceOptions plain = Options();
  plain.server.plain = true;
  Start(std::move(plain));
  const Reply reply = Client(port_, {.plain = true}).Ask(Get("/.well-known/oauth-authorization-server"));
  EXPECT_EQ(json::parse(reply.body)["token_endpoint"], fmt::format("http://127.0.0.1:{}/token", port_));
}

TEST_F(ServiceTest, EndsAtOnceWhileLoading) {
  Start(Options());
  service_->Drain(std::chrono::hours(1));
  EXPECT_FALSE(Client(port_).connected());
}

TEST_F(ServiceTest, DrainWaitsForSlowReadersOfFinishedResponses) {
  ServiceOptions options = Options();
  options.server.send_buffer_bytes = 4096;
  Start(std::move(options));
  Load();
  Client slow(port_, {.trust = state_.path() / "ca.crt", .receive_buffer = 2048});
  // The response is longer than what the kernel and one read of the client hold of it.
  std::string words;
  for (int i = 0; i < 50'000; ++i) words += "ab ";
  const std::string body = json{{"prompt", words}, {"return_token_strs", true}}.dump();
  slow.Send(fmt::format("POST /v1/tokenize HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n"
                        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                        Token("infer"), body.size(), body));
  ASSERT_TRUE(slow.ReadUntil("HTTP/1.1 200"));
  std::atomic<bool> drained{false};
  std::thread draining([&] {
    service_->Drain(60s);
    drained = true;
  });
  EXPECT_FALSE(Eventually([&] { return drained.load(); }, 1s)) << "the limit is 60 s, and somebody reads";
  const Reply reply = slow.ReadReply();
  draining.join();
  EXPECT_TRUE(reply.complete);
  EXPECT_GT(json::parse(reply.body)["tokens"].size(), 50'000u);
}

TEST_F(ServiceTest, EndsWhileItsMetricsAreAsked) {
  for (int round = 0; round < 5; ++round) {
    Start(Options());
    const std::string ask =
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + Token("metrics") + "\r\n\r\n";
    std::atomic<int> answered{0};
    std::vector<std::thread> askers;
    for (int i = 0; i < 4; ++i) {
      askers.emplace_back([&] {
        Client client(port_, {.trust = state_.path() / "ca.crt"});
        while (client.Ask(ask).status == 200) ++answered;
      });
    }
    EXPECT_TRUE(Eventually([&] { return answered > 20; }));
    service_.reset();  // handlers are at work
    for (std::thread& asker : askers) asker.join();
  }
}

TEST_F(ServiceTest, RenewsItsCertificateWhileItRuns) {
  ServiceOptions options = Options();
  options.certificate_seconds = 3;
  options.certificate_interval = 10ms;
  Start(std::move(options));
  EXPECT_TRUE(service_->made_certificate());
  Client old(port_, {.trust = state_.path() / "ca.crt"});
  const std::string first = old.PeerSerial();
  ASSERT_NE(first, "");
  ASSERT_TRUE(Eventually(
      [&] {
        const Client fresh(port_, {.trust = state_.path() / "ca.crt"});
        return fresh.connected() && fresh.PeerSerial() != first;
      },
      20s));
  EXPECT_EQ(old.Ask(Get("/livez")).status, 200);
  EXPECT_EQ(Ask("GET", "/livez").status, 200);
}

TEST_F(ServiceTest, TakesTheOperatorsCertificateAndAsksForClients) {
  const TestPki pki;
  ServiceOptions options = Options();
  options.server.tls = pki.Tls();
  options.server.tls.client_certificates = ClientCertificates::kRequired;
  options.server.tls.client_ca_file = pki.File("ca.crt");
  options.certificate_interval = 10ms;
  Start(std::move(options));
  EXPECT_FALSE(service_->made_certificate());
  EXPECT_FALSE(std::filesystem::exists(state_.path() / "server.crt"));
  const Credential caller = pki.Issue({.name = "caller"});
  const auto name = [&] {
    Client client(port_, {.certificate = &caller, .trust = pki.File("ca.crt")});
    return client.Ask(Get("/livez")).status == 200 ? client.PeerCommonName() : "";
  };
  EXPECT_EQ(name(), "localhost");
  EXPECT_EQ(Client(port_, {.trust = pki.File("ca.crt")}).Ask(Get("/livez")).status,
            0);  // without a certificate
  pki.Install(pki.Issue({.name = "renewed"}));
  EXPECT_TRUE(Eventually([&] { return name() == "renewed"; }));
}

TEST_F(ServiceTest, TooManyRequestsIsSaidOnlyWhereALimitWasPassed) {
  Start(Options());
  Load();
  const std::string token = Token("infer");
  Database other = Must(Database::Open(state_.path() / "hadal.db"));
  Must(other.Execute("ALTER TABLE quotas RENAME TO hidden"));
  const Reply failed = Ask("GET", "/v1/models", token);
  EXPECT_EQ(failed.status, 503) << failed.body;
  EXPECT_EQ(failed.Header("retry-after"), "1");
  Must(other.Execute("ALTER TABLE hidden RENAME TO quotas"));
  Must(Must(StateDb::Open(state_.path()))->SetQuota("client:app", {.requests_per_day = 1}));
  EXPECT_EQ(Ask("GET", "/v1/models", token).status, 200);
  const Reply refused = Ask("GET", "/v1/models", token);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(json::parse(refused.body)["error"]["code"], "quota_exceeded");
}

TEST_F(ServiceTest, RefusalsAreInTheAuditLog) {
  Start(Options());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Ask("GET", "/v1/models", "nonsense").status, 401);
  EXPECT_EQ(Ask("GET", "/metrics", Token("infer")).status, 403);
  service_.reset();  // writes down what it counted
  const auto records = Must(Must(StateDb::Open(state_.path()))->ListAudit(100, "denied"));
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].detail, "401 invalid_token at /v1/models, 5 times");
  EXPECT_EQ(records[1].actor, "client:app");
}

TEST(Readiness, SaysWhyNot) {
  Readiness readiness;
  LoopStats stats;
  EXPECT_FALSE(readiness.Now(nullptr, std::chrono::seconds(30)).ready);
  readiness.Loaded(7);
  EXPECT_TRUE(readiness.Now(&stats, std::chrono::seconds(30)).ready);
  stats.work_pending = true;
  stats.seconds_since_progress = 29;
  EXPECT_TRUE(readiness.Now(&stats, std::chrono::seconds(30)).ready);
  stats.seconds_since_progress = 31;
  const auto stalled = readiness.Now(&stats, std::chrono::seconds(30));
  EXPECT_FALSE(stalled.ready);
  EXPECT_EQ(json::parse(stalled.json)["status"], "stalled");
  readiness.Drain();
  EXPECT_EQ(json::parse(readiness.Now(&stats, std::chrono::seconds(30)).json)["status"], "draining");
}

}  // namespace
}  // namespace hadal
