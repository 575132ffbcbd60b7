#include "engine/bench_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/bench_cost.h"
#include "engine/bench_report.h"

namespace hadal {
namespace {

using testing::HasSubstr;

Path Folder(const char* name) { return Path(HADAL_TEST_DATA) / "golden" / name; }

BenchOptions Small() {
  BenchOptions options;
  options.engine.threads = 2;
  options.prompt = 20;
  options.generate = 6;
  options.depth = 9;
  options.batches = {1, 3};
  options.repeat = 3;
  options.probe_bytes = uint64_t{4} << 20;
  return options;
}

TEST(BenchModel, SpreadIsOfSortedValues) {
  const Spread odd = SpreadOf({3, 1, 9});
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.max, 9);
  EXPECT_EQ(SpreadOf({4, 1, 2, 9}).median, 3);
}

TEST(BenchModel, PrefillOperationsByHand) {
  const Result<ModelConfig> config = LoadConfig(Folder("v3-tiny-bf16"));
  ASSERT_TRUE(config) << config.error().message;
  // 329,200 active parameters without the head's 65,536; 4 layers * 2 * 8 heads * (16 + 8 + 16) a pair of
  // tokens.
  EXPECT_EQ(PrefillOperations(*config, 10, 0), 2.0 * 329200 * 10 + 2 * 65536 + 2560 * 55);
  EXPECT_EQ(PrefillOperations(*config, 10, 5), 2.0 * 329200 * 10 + 2 * 65536 + 2560 * (55 + 50));
}

TEST(BenchModel, DecodeBytesByHand) {
  EngineOptions options;
  options.threads = 1;
  options.context = 64;
  const auto engine = Engine::Load(Folder("v3-tiny-bf16"), options);
  ASSERT_TRUE(engine) << engine.error().message;
  const auto bytes = [&](int64_t batch, double experts, double positions) {
    return DecodeStepBytes((*engine)->config(), (*engine)->weights(), (*engine)->pass().cache(), batch,
                           experts, positions);
  };
  // Attention, two bytes a weight: 46,080 with the 40 outputs of kv_down padded to 48, and 336 floats of
  // norms, in four layers; a dense network of 49,152; three times router 2,048, 16 floats of bias, and shared
  // and four routed experts of 6,144; head 65,536, the final norm's 128 floats, a row of the embedding.
  const double one = 4 * (2 * 46080 + 4 * 336) + 2 * 49152 + 3 * (2 * 2048 + 4 * 16 + 2 * 5 * 6144) +
                     2 * 65536 + 4 * 128 + 2 * 128;
  EXPECT_EQ(bytes(1, 12, 0), one);
  EXPECT_EQ(static_cast<double>((*engine)->weights().BytesPerToken((*engine)->config())), one);
  // Eight experts more, a second row of the embedding, and seven latents of 40 bf16 in four layers for two
  // tokens.
  EXPECT_EQ(bytes(2, 20, 7), one + 8 * 2 * 6144 + 256 + 2 * 7 * 4 * 40 * 2);
}

TEST(BenchModel, RouteCountCountsAnExpertOnceAStepAndLayer) {
  RouteCount count(8);
  int32_t ids[] = {1, 2, 2, 3, 7, 1};
  float weights[6] = {};
  count.OnRoutes(0, View<const int32_t>(ids, 3, 2), View<const float>(weights, 3, 2));
  EXPECT_EQ(count.distinct(), 4);
  count.OnRoutes(1, View<const int32_t>(ids, 1, 2), View<const float>(weights, 1, 2));
  EXPECT_EQ(count.distinct(), 6);
}

void ExpectSpread(const nlohmann::json& spread) {
  EXPECT_GT(spread.at("min").get<double>(), 0);
  EXPECT_LE(spread.at("min").get<double>(), spread.at("median").get<double>());
  EXPECT_LE(spread.at("median").get<double>(), spread.at("max").get<double>());
}

TEST(BenchModel, ReportHasEveryFieldAndIsSane) {
  for (const char* folder : {"v3-tiny-bf16", "v3-tiny-fp8", "v2lite-tiny"}) {
    SCOPED_TRACE(folder);
    const Result<BenchReport> report = BenchModel(Folder(folder), Small());
    ASSERT_TRUE(report) << report.error().message;
    const nlohmann::json json = nlohmann::json::parse(BenchJson(*report));
    for (const char* limit : {"read_gbps", "f32_gflops"})
      EXPECT_GT(json.at("limits").at(limit).get<double>(), 0);
    for (const char* limit : {"bf16_gflops", "int8_gops"})
      EXPECT_GE(json.at("limits").at(limit).get<double>(), 0);
    EXPECT_EQ(json.at("limits").at("samples").size(), 3u);
    EXPECT_EQ(json.at("threads"), 2);
    ASSERT_EQ(json.at("results").size(), 2u);
    for (const nlohmann::json& result : json.at("results")) {
      EXPECT_EQ(result.at("prompt"), 20);
      EXPECT_EQ(result.at("generate"), 6);
      EXPECT_EQ(result.at("depth"), 9);
      ExpectSpread(result.at("prefill_tps"));
      ExpectSpread(result.at("decode_tps"));
      for (const char* key :
           {"prefill_share", "decode_share", "read_gbps", "bytes_per_token", "experts_per_layer"})
        EXPECT_GT(result.at(key).get<double>(), 0) << key;
      EXPECT_DOUBLE_EQ(result.at("bytes_per_step").get<double>(),
                       result.at("bytes_per_token").get<double>() * result.at("batch").get<double>());
    }
    EXPECT_EQ(json.at("results")[0].at("batch"), 1);
    EXPECT_EQ(json.at("results")[1].at("batch"), 3);
    // Three tokens read more than one, and less than three times as much: they share all but experts and
    // latents.
    const double one = json.at("results")[0].at("bytes_per_step"),
                 three = json.at("results")[1].at("bytes_per_step");
    EXPECT_GT(three, one);
    EXPECT_LT(three, 3 * one);
    EXPECT_GT(json.at("load").at("seconds").get<double>(), 0);
    EXPECT_GT(json.at("load").at("gbps").get<double>(), 0);
    EXPECT_GT(json.at("peak_rss_bytes").get<double>(), 0);
    EXPECT_GT(json.at("planned_bytes").get<double>(), 0);
  }
}

TEST(BenchModel, RoutesAtBatchOneAreTopK) {
  const Result<BenchReport> report = BenchModel(Folder("v3-tiny-bf16"), Small());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->results[0].experts_per_layer, 4);
  EXPECT_GT(report->results[1].experts_per_layer, 4);
  EXPECT_LE(report->results[1].experts_per_layer, 12);
  EXPECT_LE(report->results[1].experts_per_layer, 16);
}

TEST(BenchModel, SharesFollowFromRatesAndLimits) {
  const Result<BenchReport> report = BenchModel(Folder("v3-tiny-bf16"), Small());
  ASSERT_TRUE(report) << report.error().message;
  const BatchResult& r = report->results[1];
  EXPECT_DOUBLE_EQ(r.limits.read_gbps,
                   (report->limit_samples[1].read_gbps + report->limit_samples[2].read_gbps) / 2);
  EXPECT_DOUBLE_EQ(r.decode_share, r.step_bytes * (r.decode_tps.median / 3) / (r.limits.read_gbps * 1e9));
  const double per_token = r.prefill_operations / (3 * 20);
  const double limit = r.limits.bf16_gflops > 0 ? r.limits.bf16_gflops : r.limits.f32_gflops;
  EXPECT_DOUBLE_EQ(r.prefill_share, per_token * r.prefill_tps.median / (limit * 1e9));
}

TEST(BenchModel, ArithmeticLimitIsThatOfTheInputs) {
  const MachineLimits all{.read_gbps = 1, .f32_gflops = 2, .bf16_gflops = 4, .int8_gops = 8};
  Weights weights;
  weights.layers.resize(1);
  LinearWeight& out = weights.layers[0].attention.out;
  out.input = InputFormat::kInt8;
  EXPECT_EQ(LimitOf(weights, all).per_second, 8);
  out.input = InputFormat::kBF16;
  EXPECT_EQ(LimitOf(weights, all).per_second, 4);
  EXPECT_STREQ(LimitOf(weights, {.read_gbps = 1, .f32_gflops = 2}).name, "f32_gflops");
  out.input = InputFormat::kF32;
  EXPECT_EQ(LimitOf(weights, all).per_second, 2);
}

TEST(BenchModel, RefusesWhatIsOutOfRange) {
  const auto refusal = [](auto&& change) {
    BenchOptions options = Small();
    change(options);
    const Result<BenchReport> report = BenchModel(Folder("v3-tiny-bf16"), options);
    EXPECT_FALSE(report);
    return report ? std::string() : report.error().message;
  };
  EXPECT_THAT(refusal([](BenchOptions& o) { o.prompt = 0; }), HasSubstr("--prompt is 0"));
  EXPECT_THAT(refusal([](BenchOptions& o) { o.generate = -1; }), HasSubstr("--generate is -1"));
  EXPECT_THAT(refusal([](BenchOptions& o) { o.depth = -1; }), HasSubstr("--depth is -1"));
  EXPECT_THAT(refusal([](BenchOptions& o) { o.repeat = 0; }), HasSubstr("--repeat is 0"));
  EXPECT_THAT(refusal([](BenchOptions& o) { o.batches = {}; }), HasSubstr("--batch"));
  EXPECT_THAT(refusal([](BenchOptions& o) { o.batches = {4, 0}; }), HasSubstr("--batch is 0"));
  EXPECT_THAT(refusal([](BenchOptions& o) { o.engine.context = 34; }), HasSubstr("do not fit --context 34"));
  EXPECT_THAT(refusal([](BenchOptions& o) { o.depth = 2560 - 25; }),
              HasSubstr("depth 2535 + prompt 20 + generate 6 = 2561 positions"));
}

TEST(BenchModel, ProgressEndsAtItsTotal) {
  BenchOptions options = Small();
  uint64_t last = 0, all = 0;
  options.progress = [&](std::string_view, uint64_t done, uint64_t total) {
    last = done;
    all = total;
    return true;
  };
  ASSERT_TRUE(BenchModel(Folder("v3-tiny-bf16"), options));
  EXPECT_EQ(last, all);
}

TEST(BenchModel, StopsWhenTold) {
  BenchOptions options = Small();
  uint64_t last = 0;
  int calls = 0;
  options.progress = [&](std::string_view stage, uint64_t done, uint64_t total) {
    if (stage == "loading") return true;
    EXPECT_GE(done, last);
    EXPECT_EQ(total, (1u + 3u) * (9 + 3 * (20 + 6)));
    last = done;
    return ++calls < 5;
  };
  const Result<BenchReport> report = BenchModel(Folder("v3-tiny-bf16"), options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kCancelled);
  EXPECT_EQ(calls, 5);
}

TEST(BenchModel, TableNamesMachineAndLimits) {
  BenchReport report;
  report.model = "m";
  report.processor = "a processor";
  report.isa = "avx512";
  report.limit_samples = {{40, 500, 1000, 0}, {30, 500, 1000, 0}};
  BatchResult r;
  r.batch = 4;
  r.prefill_tps = {900, 1000, 1100};
  r.decode_tps = {9.5, 10, 11};
  r.prefill_limit = "bf16_gflops";
  r.decode_share = 0.625;
  report.results = {r};
  const std::string table = BenchTable(report);
  for (const char* part : {"a processor", "avx512", "1000 (900-1100)", "10.0 (9.5-11.0)", "62.5%",
                           "prefill of bf16_gflops", "before", "after batch 4", "none"})
    EXPECT_THAT(table, HasSubstr(part));
}

}  // namespace
}  // namespace hadal
