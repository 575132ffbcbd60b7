// hadal bench serve and bench soak against a real server over TLS.
#include <gmock/gmock.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/serve_fixture.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

class BenchServeTest : public ServeTest {
 protected:
  void SetUp() override {
    ServeTest::SetUp();
    Write("token", Token("bench", "infer") + "\n");
  }
  std::vector<std::string> MoreFlags() const override {
    return {"--max-running", "4", "--max-waiting", "32", "--context", "512"};
  }
  /// hadal bench serve with `more` arguments.
  Outcome Bench(const std::vector<std::string>& more, const Settings& settings = {}) {
    std::vector<std::string> arguments{"bench",   "serve", "--url", Url(), "--ca", File("state/ca.crt"),
                                       "--model", "test"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Hadal(arguments, settings);
  }
  std::string Url() const { return "https://" + address_ + "/v1"; }
};

// Sanitizers keep freed memory for a while: it is not flat with them.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HADAL_SANITIZED 1
#endif
#endif
#ifdef HADAL_SANITIZED
constexpr bool kMeasuresMemory = false;
#else
constexpr bool kMeasuresMemory = true;
#endif

/// Checks that failed, in soak's text.
int Failures(const std::string& text) {
  int count = 0;
  for (size_t at = 0; (at = text.find("FAILED", at)) != std::string::npos; ++at) ++count;
  return count;
}

/// What holds for every point, whatever the machine.
void ExpectSound(const json& point, int requests) {
  SCOPED_TRACE(point.dump(2));
  EXPECT_EQ(point["requests"]["sent"], requests);
  EXPECT_EQ(point["requests"]["succeeded"], requests);
  EXPECT_EQ(point["errors"], json::object());
  for (const char* name : {"ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"}) {
    const json& s = point[name];
    EXPECT_GT(s["count"], 0) << name;
    // A client that is kept from running reads several tokens at once: between those there is no time.
    const bool between_tokens = name == std::string_view("tpot_ms") || name == std::string_view("itl_ms");
    EXPECT_GE(s["p50"], 0) << name;
    if (!between_tokens) EXPECT_GT(s["p50"], 0) << name;
    EXPECT_LE(s["p50"], s["p90"]) << name;
    EXPECT_LE(s["p90"], s["p95"]) << name;
    EXPECT_LE(s["p95"], s["p99"]) << name;
    EXPECT_LE(s["p99"], s["max"]) << name;
    EXPECT_LE(s["mean"], s["max"]) << name;
  }
  EXPECT_LE(point["ttft_ms"]["max"], point["e2e_ms"]["max"]);
  const double seconds = point["seconds"];
  EXPECT_NEAR(point["throughput"]["requests"].get<double>(), requests / seconds, 1e-6 * requests / seconds);
  EXPECT_NEAR(point["throughput"]["output_tokens"].get<double>() * seconds,
              point["tokens"]["output"].get<double>(), 1e-3);
}

TEST_F(BenchServeTest, ASweepCountsWhatTheServerCounts) {
  const Outcome run =
      Bench({"--token-file", File("token"), "--concurrency", "1,3", "--requests", "6", "--input", "20-40",
             "--output", "8", "--shared-prefix", "4", "--json", "-", "--svg", File("plot.svg")});
  ASSERT_EQ(run.code, 0) << run.err;
  const json report = json::parse(run.out);
  EXPECT_EQ(report["load"]["prompts"], "token ids");
  EXPECT_EQ(report["load"]["tokens_counted_by"], "usage");
  EXPECT_EQ(report["interrupted"], false);
  ASSERT_EQ(report["points"].size(), 2u);
  for (const json& point : report["points"]) {
    ExpectSound(point, 6);
    EXPECT_EQ(point["tokens"]["output"], 6 * 8);
    EXPECT_GE(point["tokens"]["input"], 6 * 20);
    EXPECT_LE(point["tokens"]["input"], 6 * 40);
  }
  EXPECT_EQ(report["points"][0]["most_in_flight"], 1);
  EXPECT_EQ(report["points"][1]["most_in_flight"], 3);
  EXPECT_THAT(Contents("plot.svg"), StartsWith("<svg"));
  EXPECT_THAT(Contents("plot.svg"), HasSubstr("Time to first token"));
  EXPECT_THAT(Contents("plot.svg"), testing::Not(HasSubstr("nan")));
}

TEST_F(BenchServeTest, AnOpenLoopWithLimitsAndChatsAndText) {
  const Outcome open =
      Bench({"--token-file", File("token"), "--rate", "50", "--requests", "10", "--input", "16", "--output",
             "4", "--slo-e2e-ms", "100000", "--prompts", "text", "--json", File("open.json")});
  ASSERT_EQ(open.code, 0) << open.err;
  EXPECT_THAT(open.out, HasSubstr("time to first token"));
  const json point = json::parse(Contents("open.json"))["points"][0];
  ExpectSound(point, 10);
  EXPECT_EQ(point["rate"], 50);
  EXPECT_EQ(point["goodput"]["share"], 1.0);

  const Outcome chat = Bench({"--chat", "--requests", "2", "--input", "30", "--output", "4", "--json", "-"},
                             {.environment = {"HADAL_TOKEN=" + Contents("token")}});
  ASSERT_EQ(chat.code, 0) << chat.err;
  ExpectSound(json::parse(chat.out)["points"][0], 2);
}

TEST_F(BenchServeTest, SaysInOneSentenceWhatIsWrong) {
  ExpectFailure(Bench({}), "refuses the token");
  Write("wrong", "eyJhbGciOiJub25lIn0.e30.\n");
  ExpectFailure(Bench({"--token-file", File("wrong")}), "refuses the token");
  Write("blanks", "two words\n");
  ExpectFailure(Bench({"--token-file", File("blanks")}), "does not look like a token");
  const auto with = [&](const std::string& url, const std::string& ca, const std::string& model) {
    return Hadal(
        {"bench", "serve", "--url", url, "--ca", ca, "--model", model, "--token-file", File("token")});
  };
  const std::string ca = File("state/ca.crt");
  ExpectFailure(with("https://127.0.0.1:1/v1", ca, "test"), "nobody answers");
  ExpectFailure(with("127.0.0.1", ca, "test"), "no address of a server");
  ExpectFailure(with(Url(), File("none.crt"), "test"), "no such CA file");
  ExpectFailure(with(Url(), ca, "other"), "not found");
  ExpectFailure(with("http://192.0.2.1/v1", ca, "test"), "plain HTTP");
  // The server is not of the system's CAs.
  ExpectFailure(Hadal({"bench", "serve", "--url", Url(), "--model", "test", "--token-file", File("token")}),
                "--ca");
}

TEST_F(BenchServeTest, RequestsThatFailAreCountedByKind) {
  // Longer than the context: the server refuses each, and the probe does not see it.
  const Outcome run = Bench({"--token-file", File("token"), "--requests", "3", "--warmup", "0", "--input",
                             "100000", "--output", "4", "--json", "-"});
  EXPECT_EQ(run.code, 2) << run.err;
  const json point = json::parse(run.out)["points"][0];
  EXPECT_EQ(point["requests"]["failed"], 3);
  EXPECT_EQ(point["errors"]["http 400"]["count"], 3);
}

TEST_F(BenchServeTest, SoakLeavesTheServerAsItWas) {
  Write("metrics-token", Token("watcher", "metrics") + "\n");
  const Outcome run = Hadal({"bench", "soak", "--url", Url(), "--ca", File("state/ca.crt"), "--model", "test",
                             "--token-file", File("token"), "--metrics-token-file", File("metrics-token"),
                             "--duration", "20", "--pid", std::to_string(pid_)});
  if (kMeasuresMemory) {
    EXPECT_EQ(run.code, 0) << run.out << run.err;
    EXPECT_THAT(run.out, HasSubstr("ok       memory is flat"));
  }
  const bool rises = run.out.find("FAILED   memory is flat") != std::string::npos;
  EXPECT_EQ(Failures(run.out), !kMeasuresMemory && rises ? 1 : 0) << run.out << run.err;
  EXPECT_THAT(run.out, HasSubstr("ok       no descriptor leaks"));
}

}  // namespace
}  // namespace hadal::e2e
