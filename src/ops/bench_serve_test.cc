// The load generator against servers that behave as others do, in this process.
#include "ops/bench_serve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "ops/bench_serve_plot.h"
#include "ops/bench_serve_report.h"
#include "server/http_server.h"

namespace hadal {
namespace {

using testing::HasSubstr;
using testing::Not;

using Writer = std::shared_ptr<ResponseWriter>;

void Answer(const Writer& writer, int tokens, const char* tail) {
  writer->StartStream(200, {{"content-type", "text/event-stream"}});
  for (int i = 0; i < tokens; ++i)
    writer->Write("data: {\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":null}]}\n\n");
  writer->Write("data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n");
  if (*tail) writer->Write(std::string("data: ") + tail + "\n\n");
  writer->Write("data: [DONE]\n\n");
  writer->EndStream();
}

void Refuse(const Writer& writer, int status, const std::string& sentence) {
  writer->Send(status, {{"content-type", "application/json"}},
               nlohmann::json{{"error", {{"message", sentence}}}}.dump());
}

class Fake {
 public:
  explicit Fake(std::vector<Route> routes) {
    ServerOptions options;
    options.plain = true;
    options.listen = "127.0.0.1:0";
    Result<std::unique_ptr<HttpServer>> made = HttpServer::Start(options, std::move(routes), nullptr);
    EXPECT_TRUE(made) << made.error().message;
    server_ = std::move(*made);
  }
  std::string url() const { return "http://" + server_->address() + "/v1"; }

 private:
  std::unique_ptr<HttpServer> server_;
};

ServeBenchOptions Options(int64_t requests) {
  ServeBenchOptions options;
  options.dialect.model = "m";
  options.requests = requests;
  options.prompts.input = {8, 8};
  options.prompts.output = {4, 4};
  options.warmup = 0;
  options.timeout = 60;
  return options;
}

Result<ServeBenchReport> Measure(const Fake& server, const ServeBenchOptions& options) {
  return BenchServe({.url = server.url()}, options);
}

TEST(BenchServe, AServerThatKnowsNeitherIgnoreEosNorStreamOptionsNorCounts) {
  std::atomic<int> refused = 0;
  const Fake server({{"POST", "/v1/completions", "", [&](const HttpRequest& request, Writer writer) {
                        const auto body = nlohmann::json::parse(request.body);
                        for (const char* field : {"ignore_eos", "stream_options"}) {
                          if (!body.contains(field)) continue;
                          ++refused;
                          return Refuse(writer, 400, std::string("unknown field ") + field);
                        }
                        Answer(writer, 3, "");
                      }}});
  const auto report = Measure(server, Options(5));
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(refused, 2) << "asked once each";
  EXPECT_FALSE(report->dialect.ignore_eos || report->dialect.stream_usage || report->dialect.counts_tokens);
  ASSERT_EQ(report->points.size(), 1u);
  const ServePoint& point = report->points[0];
  EXPECT_EQ(point.succeeded, 5);
  EXPECT_EQ(point.output_tokens, 15) << "events stand for tokens";
  EXPECT_EQ(point.answers_cut, 5) << "three tokens where four were asked";
  EXPECT_THAT(ServeBenchTable(*report), HasSubstr("events are counted"));
}

TEST(BenchServe, PromptsAreIdsWhereTheServerTokenizesAsLlamaCppDoes) {
  std::atomic<int> ids = 0, texts = 0;
  const Fake server({{"POST", "/tokenize", "",
                      [](const HttpRequest& request, Writer writer) {
                        const auto body = nlohmann::json::parse(request.body);
                        nlohmann::json tokens = nlohmann::json::array();
                        for (int i = 0; body.contains("content") && i < 40; ++i) tokens.push_back(100 + i);
                        writer->Send(200, {}, nlohmann::json{{"tokens", tokens}}.dump());
                      }},
                     {"POST", "/v1/completions", "", [&](const HttpRequest& request, Writer writer) {
                        const auto prompt = nlohmann::json::parse(request.body)["prompt"];
                        ++(prompt.is_array() ? ids : texts);
                        if (prompt.is_array() && prompt[0] >= 100)
                          for (const int id : prompt) EXPECT_TRUE(id >= 100 && id < 140) << id;
                        Answer(writer, 4,
                               R"({"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":4}})");
                      }}});
  const auto report = Measure(server, Options(6));
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->dialect.ids);
  EXPECT_EQ(texts, 1);
  EXPECT_EQ(ids, 7);
  EXPECT_EQ(report->points[0].input_tokens, 48);
  EXPECT_EQ(report->points[0].answers_cut, 0);
}

TEST(BenchServe, FailuresAreCountedByKindAndAPartOfTheRest) {
  std::atomic<int> count = 0;
  const Fake server({{"POST", "/v1/completions", "", [&](const HttpRequest&, Writer writer) {
                        switch (count++) {
                          case 2:
                            return Refuse(writer, 429, "later");
                          case 3:
                            return Refuse(writer, 429, "later");
                          case 4:
                            return Answer(writer, 1, R"({"error":{"message":"out of memory"}})");
                          default:
                            return Answer(writer, 4, "");
                        }
                      }}});
  ServeBenchOptions options = Options(6);
  options.dialect.prompts = PromptKind::kText;
  const auto report = Measure(server, options);
  ASSERT_TRUE(report) << report.error().message;
  const ServePoint& point = report->points[0];
  EXPECT_EQ(point.sent, 6);
  EXPECT_EQ(point.succeeded, 3) << ServeBenchJson(*report);
  EXPECT_EQ(point.errors.at("http 429"), 2);
  EXPECT_EQ(point.errors.at("error event"), 1);
  EXPECT_EQ(point.examples.at("error event"), "out of memory");
  EXPECT_EQ(point.ttft.count(), 3);
}

TEST(BenchServe, AnOpenLoopCountsTheTimeBehindAServerThatStalls) {
  std::atomic<int> count = 0;
  std::vector<std::jthread> stalled;
  const Fake server({{"POST", "/v1/completions", "", [&](const HttpRequest&, Writer writer) {
                        if (count++ != 1) return Answer(writer, 1, "");  // the first is the probe
                        stalled.emplace_back([writer] {
                          std::this_thread::sleep_for(std::chrono::milliseconds(300));
                          Answer(writer, 1, "");
                        });
                      }}});
  ServeBenchOptions options = Options(11);
  options.dialect.prompts = PromptKind::kText;
  options.rates = {100};
  options.arrivals = ArrivalKind::kConstant;
  options.max_in_flight = 1;
  const auto report = Measure(server, options);
  ASSERT_TRUE(report) << report.error().message;
  const ServePoint& point = report->points[0];
  EXPECT_EQ(point.succeeded, 11);
  // Request k arrives at 10 k ms and none is sent before 300 ms: at 200 ms at the latest, all have waited 200
  // ms.
  EXPECT_GE(point.ttft.Percentile(1), 0.2 * 0.99);
  EXPECT_GE(point.ttft.Summary().mean, 0.25 * 0.99);
  EXPECT_GE(point.latest, 0.29 * 0.99);
  EXPECT_EQ(point.most_in_flight, 1);
}

TEST(BenchServe, StopsWhenItIsToldAndKeepsWhatItHas) {
  std::atomic<int> count = 0;
  std::mutex mutex;
  std::vector<Writer> held;
  const Fake server({{"POST", "/v1/completions", "", [&](const HttpRequest&, Writer writer) {
                        if (count++ < 3) return Answer(writer, 1, "");
                        const std::lock_guard lock(mutex);
                        held.push_back(writer);  // never answered
                      }}});
  ServeBenchOptions options = Options(10);
  options.dialect.prompts = PromptKind::kText;
  options.progress = [&](const std::string&, uint64_t, uint64_t) {
    const std::lock_guard lock(mutex);
    return held.empty();
  };
  const auto report = Measure(server, options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->interrupted);
  EXPECT_EQ(report->points[0].succeeded, 2);
  EXPECT_EQ(report->points[0].stopped, 1);
  EXPECT_THAT(ServeBenchTable(*report), HasSubstr("interrupted"));
}

TEST(BenchServe, RefusesOptionsThatMakeNoSense) {
  const auto refused = [](auto change) {
    ServeBenchOptions options = Options(1);
    change(options);
    return !CheckServeBench(options);
  };
  EXPECT_FALSE(refused([](ServeBenchOptions&) {}));
  EXPECT_TRUE(refused([](ServeBenchOptions& o) { o.concurrency = {0}; }));
  EXPECT_TRUE(refused([](ServeBenchOptions& o) { o.rates = {-1}; }));
  EXPECT_TRUE(refused([](ServeBenchOptions& o) { o.rates = {std::nan("")}; }));
  EXPECT_TRUE(refused([](ServeBenchOptions& o) { o.requests = 0; }));
  EXPECT_TRUE(refused([](ServeBenchOptions& o) { o.prompts.shared_prefix = 9; }));
  EXPECT_TRUE(refused([](ServeBenchOptions& o) { o.dialect.model.clear(); }));
}

TEST(BenchServePlot, HasItsAxesAndNothingFromOutside) {
  ServeBenchReport report;
  report.options = Options(1);
  report.options.dialect.model = "<m&>";
  for (const int64_t concurrency : {1, 2, 16}) {
    ServePoint point;
    point.concurrency = concurrency;
    point.seconds = 1;
    point.output_tokens = 100 * concurrency;
    point.ttft.Add(0.01);
    report.points.push_back(point);
  }
  const std::string svg = ServeBenchSvg(report);
  for (const char* text :
       {"&lt;m&amp;&gt;", "Throughput, tokens/s", "requests at once (logarithmic)", "99 %", ">16<"})
    EXPECT_THAT(svg, HasSubstr(text));
  for (const char* text : {"<m&>", "nan", "inf", "href", "<script"}) EXPECT_THAT(svg, Not(HasSubstr(text)));
  report.points.clear();
  EXPECT_THAT(ServeBenchSvg(report), HasSubstr("</svg>"));
}

TEST(Endpoint, AddressesThatMakeNoSenseOrGiveTheTokenAway) {
  for (const char* bad :
       {"", "host", "ftp://host/v1", "https://", "https://a b/", "https://user:secret@host/v1"})
    EXPECT_FALSE(CheckEndpoint({.url = bad})) << bad;
  EXPECT_TRUE(CheckEndpoint({.url = "http://10.0.0.1/v1"}));
  EXPECT_FALSE(CheckEndpoint({.url = "http://10.0.0.1/v1", .token = Secret("t")}));
  EXPECT_FALSE(CheckEndpoint({.url = "http://127.evil.example/v1", .token = Secret("t")}));
  EXPECT_TRUE(CheckEndpoint({.url = "http://127.0.0.1:80/v1", .token = Secret("t")}));
  EXPECT_TRUE(CheckEndpoint({.url = "http://[::1]:80/v1", .token = Secret("t")}));
}

}  // namespace
}  // namespace hadal
