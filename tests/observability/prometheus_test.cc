// A real Prometheus scrapes a real server over TLS with a token; alerts of deploy/prometheus fire, and the dashboard
// of deploy/grafana asks for what is there.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "cli/program.h"
#include "observability/child.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

const std::string kSource = HADAL_SOURCE;
// Beyond it a condition counts as never met; a busy machine needs a few seconds.
constexpr int kPolls = 1200;  // of 0.1 s

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  EXPECT_THAT(text, HasSubstr(from));
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string Shell(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, got);
  pclose(pipe);
  return text;
}

/// A port of loopback that nobody has at the moment.
int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < kPolls; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

class PrometheusTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    // The public key of RFC 8037, appendix A.2.
    Write("keys.json", R"({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "use": "sig", "alg": "EdDSA",
                           "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]})");
    server_ = std::make_unique<Child>(
        std::vector<std::string>{HADAL_BINARY, "serve", "--model", Model(), "--state", File("state"), "--listen",
                                 "127.0.0.1:0", "--name", "test", "--ready-file", File("ready"), "--threads", "2",
                                 "--max-running", "4", "--drain", "5", "--log-format", "json", "--issuer",
                                 "issuer=https://login.example,audience=hadal,jwks=" + File("keys.json")},
        File("server.log"));
    ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(File("ready")) || !server_->running(); }));
    ASSERT_TRUE(server_->running()) << Contents("server.log");
    address_ = Contents("ready");
    address_.resize(address_.find('\n'));
  }
  void TearDown() override {
    if (prometheus_) EXPECT_EQ(prometheus_->End(), 0) << Contents("prometheus.log");
    if (server_) EXPECT_EQ(server_->End(), 0) << Contents("server.log");
    CliTest::TearDown();
  }

  std::string Token(const std::string& client, const std::string& scope) {
    const Outcome issued =
        Hadal({"token", "issue", "--state", File("state"), "--client", client, "--scope", scope});
    EXPECT_EQ(issued.code, 0) << issued.err;
    return issued.out.substr(0, issued.out.find('\n'));
  }

  /// deploy/prometheus as it is, but for addresses, a clock that runs 15 times faster, no patience, and a latency
  /// threshold that every request is above.
  void StartPrometheus() {
    std::filesystem::create_directories(File("prometheus/hadal"));
    std::filesystem::create_directories(File("prometheus/rules"));
    const std::string deploy = kSource + "/deploy/prometheus/";
    std::string config = Replaced(ReadAll(deploy + "prometheus.yml"), "localhost:8443", address_);
    Write("prometheus/prometheus.yml", Replaced(config, "15s", "1s"));
    for (const char* name : {"service.yml", "recording.yml", "gpu.yml", "thresholds.yml"}) {
      std::string rules = ReadAll(deploy + "rules/" + name);
      rules = std::regex_replace(rules, std::regex("for: [0-9]+m"), "for: 1s");
      if (name == std::string("thresholds.yml"))
        rules = Replaced(rules, "ttft_p99_seconds\n        expr: vector(0.5)",
                         "ttft_p99_seconds\n        expr: vector(0.00001)");
      Write(std::string("prometheus/rules/") + name, rules);
    }
    Write("prometheus/hadal/token", Token("prometheus", "metrics") + "\n");
    std::filesystem::copy_file(File("state/ca.crt"), File("prometheus/hadal/ca.crt"));
    const std::string listen = "127.0.0.1:" + std::to_string(FreePort());
    api_ = "http://" + listen + "/api/v1";
    prometheus_ = std::make_unique<Child>(
        std::vector<std::string>{std::string(HADAL_TOOLS) + "/prometheus",
                                 "--config.file=" + File("prometheus/prometheus.yml"),
                                 "--storage.tsdb.path=" + File("data"), "--web.listen-address=" + listen,
                                 "--log.level=warn"},
        File("prometheus.log"));
  }

  json Api(const std::string& path, const std::string& query = "") {
    Write("query", query);
    const std::string text = Shell("curl -sS -G --max-time 20 " + api_ + path +
                                   (query.empty() ? "" : " --data-urlencode query@" + File("query")) + " 2>&1");
    return json::parse(text, nullptr, false);  // discarded while Prometheus starts
  }
  /// The first value of an instant query; "" if there is none.
  std::string Value(const std::string& query) {
    const json answer = Api("/query", query);
    if (answer.is_discarded() || answer["status"] != "success" || answer["data"]["result"].empty()) return "";
    return answer["data"]["result"][0]["value"][1];
  }
  bool Firing(const std::string& alert) {
    const json answer = Api("/alerts");
    if (answer.is_discarded()) return false;
    for (const json& a : answer["data"]["alerts"])
      if (a["labels"]["alertname"] == alert && a["state"] == "firing") return true;
    return false;
  }
  /// The answer's head and body.
  std::string Ask(const std::string& path, const std::string& token, const std::string& more) {
    Write("headers", "Authorization: Bearer " + token + "\n");
    return Shell("curl -sS -i --max-time 60 --cacert " + File("state/ca.crt") + " -H @" + File("headers") + " " +
                 more + " https://" + address_ + path + " 2>&1");
  }
  std::string Complete(const std::string& token) {
    Write("body", R"({"model":"test","prompt":[5,6,7],"max_tokens":4,"temperature":0,"ignore_eos":true})");
    return Ask("/v1/completions", token,
               "-H 'content-type: application/json' --data-binary @" + File("body"));
  }

  std::unique_ptr<Child> server_, prometheus_;
  std::string address_, api_;
};

/// Names in a PromQL expression that could be metrics of the server, without a histogram's suffix.
std::set<std::string> MetricsOf(const std::string& expression) {
  static const std::regex name("\\b(hadal|process)_[a-z0-9_]+");
  std::set<std::string> names;
  for (std::sregex_iterator it(expression.begin(), expression.end(), name), end; it != end; ++it)
    names.insert(std::regex_replace(it->str(), std::regex("_(bucket|sum|count)$"), ""));
  return names;
}

/// Names that an exposition has a TYPE line for.
std::set<std::string> Exposed(const std::string& text) {
  static const std::regex type("# TYPE ([a-z0-9_]+) ");
  std::set<std::string> names;
  for (std::sregex_iterator it(text.begin(), text.end(), type), end; it != end; ++it) names.insert((*it)[1]);
  return names;
}

TEST_F(PrometheusTest, ScrapesOverTlsWithATokenAndAlertsFire) {
  StartPrometheus();
  ASSERT_TRUE(Eventually([&] { return Value("up{job=\"hadal\"}") == "1"; })) << Contents("prometheus.log");
  EXPECT_EQ(Value("hadal_ready"), "1");
  EXPECT_EQ(Value("hadal_model_info{model=\"test\"}"), "1");
  EXPECT_FALSE(Firing("HadalTargetDown"));
  EXPECT_FALSE(Firing("HadalLatencyP99High"));

  const std::string token = Token("app", "infer");
  EXPECT_TRUE(Eventually([&] {
    EXPECT_THAT(Complete(token), HasSubstr(" 200 "));
    return Firing("HadalLatencyP99High");
  })) << Api("/rules").dump(1);
  EXPECT_GT(std::stod(Value("hadal_decode_bandwidth_ratio")), 0);
  EXPECT_GT(std::stod(Value("hadal_requests_finished_total{reason=\"length\"}")), 0);

  EXPECT_EQ(server_->End(), 0);
  EXPECT_TRUE(Eventually([&] { return Firing("HadalTargetDown"); }));
  server_ = nullptr;
}

TEST_F(PrometheusTest, TheDashboardAndTheRulesAskForWhatTheServerExposes) {
  StartPrometheus();
  ASSERT_TRUE(Eventually([&] { return Value("up{job=\"hadal\"}") == "1"; })) << Contents("prometheus.log");
  const std::set<std::string> exposed = Exposed(Ask("/metrics", Token("m", "metrics"), ""));
  EXPECT_GT(exposed.size(), 50u);
  const json dashboard = json::parse(ReadAll(kSource + "/deploy/grafana/dashboards/hadal.json"));
  int expressions = 0;
  std::set<std::string> shown;
  for (const json& panel : dashboard["panels"]) {
    if (!panel.contains("targets")) continue;
    for (const json& target : panel["targets"]) {
      std::string expression = target["expr"];
      expression = std::regex_replace(expression, std::regex("\\$instance"), ".*");
      expression = std::regex_replace(expression, std::regex("\\$__rate_interval"), "1m");
      EXPECT_THAT(expression, Not(HasSubstr("$"))) << panel["title"];
      EXPECT_EQ(Api("/query", expression)["status"], "success") << panel["title"] << ": " << expression;
      for (const std::string& name : MetricsOf(expression)) {
        EXPECT_TRUE(exposed.contains(name)) << panel["title"] << " asks for " << name;
        shown.insert(name);
      }
      ++expressions;
    }
  }
  EXPECT_GT(expressions, 40);
  EXPECT_GT(shown.size(), 40u);
  for (const char* file : {"service.yml", "recording.yml"}) {
    for (const std::string& name : MetricsOf(ReadAll(kSource + "/deploy/prometheus/rules/" + file)))
      EXPECT_TRUE(exposed.contains(name)) << file << " asks for " << name;
  }
}

TEST_F(PrometheusTest, ThePagePassesPromtool) {
  const std::string token = Token("m", "metrics");
  Complete(Token("app", "infer"));
  const std::string page = Ask("/metrics", token, "");
  Write("page", page.substr(page.find("\r\n\r\n") + 4));
  EXPECT_EQ(Shell(std::string(HADAL_TOOLS) + "/promtool check metrics <" + File("page") + " 2>&1; echo $?"), "0\n");
}

TEST_F(PrometheusTest, LogLinesHaveTheIdThatTheClientGotAndNoSecret) {
  const std::string token = Token("app", "infer");
  Write("body", R"({"model":"test","prompt":[5,6,7],"max_tokens":4,"temperature":0,"ignore_eos":true})");
  const std::string answer = Ask("/v1/completions?password=SECRETQUERY", token,
                                 "-H 'content-type: application/json' -H 'x-request-id: mine-1' --data-binary @" +
                                     File("body"));
  EXPECT_THAT(answer, HasSubstr("mine-1"));
  Ask("/SECRETPATH%0a{}", token, "-H 'x-request-id: not an id'");
  EXPECT_EQ(server_->End(), 0);
  server_ = nullptr;
  const std::string log = Contents("server.log");
  EXPECT_THAT(log, Not(HasSubstr("SECRET")));
  EXPECT_THAT(log, Not(HasSubstr(token)));
  EXPECT_THAT(log, Not(HasSubstr("not an id")));
  json mine;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line, nullptr, false);
    ASSERT_FALSE(event.is_discarded()) << "not JSON: " << line;
    EXPECT_TRUE(event.contains("time") && event.contains("level") && event.contains("event")) << line;
    if (event.value("request_id", "") == "mine-1") mine = event;
  }
  EXPECT_EQ(mine["client"], "app");
  EXPECT_EQ(mine["route"], "/v1/completions");
  EXPECT_EQ(mine["status"], 200);
  EXPECT_EQ(mine["prompt_tokens"], 3);
  EXPECT_EQ(mine["generated_tokens"], 4);
  EXPECT_EQ(mine["finish_reason"], "length");
  EXPECT_GT(mine["ttft_ms"], 0);
  EXPECT_GE(mine["duration_ms"], mine["ttft_ms"]);
}

}  // namespace
}  // namespace hadal::e2e
