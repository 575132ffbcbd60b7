#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace hadal {
namespace {

using testing::HasSubstr;

/// Metrics of a service whose model is loaded.
class Loaded : public Metrics {
 public:
  Loaded() : Metrics("1.2.3", "m") { SetEngine({"avx2", 4096, 1000, 50e9}); }
};

TEST(Metrics, RequestsAreTimedAndCountedByReason) {
  Loaded metrics;
  int delivered = 0;
  GenerationRequest request;
  request.deliver = [&](const TokenEvent&, const Usage&) { ++delivered; };
  request = metrics.Watch(std::move(request));
  TokenEvent token;
  token.token = 5;
  Usage usage;
  usage.prompt = 12;
  usage.generated = 1;
  request.deliver(token, usage);
  token.finished = true;
  token.reason = FinishReason::kLength;
  usage.generated = 2;
  request.deliver(token, usage);
  EXPECT_EQ(delivered, 2);
  const std::string text = metrics.Exposition({});
  EXPECT_THAT(text, HasSubstr("hadal_inter_token_latency_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("hadal_time_to_first_token_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("hadal_time_per_output_token_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("hadal_request_prompt_tokens_sum 12"));
  EXPECT_THAT(text, HasSubstr("hadal_time_to_first_token_seconds_bucket{le=\"0.5\"} 1"));
}

TEST(Metrics, SnapshotsBecomeGaugesAndCountersThatDoNotDouble) {
  Loaded metrics;
  Metrics::Snapshot snapshot;
  LoopStats& loop = snapshot.loop;
  loop.running = 3;
  loop.total_blocks = 10;
  loop.free_blocks = 4;
  loop.cached_blocks = 1;
  loop.generated_tokens = 40;
  loop.mask_waits = 5;
  snapshot.server.timeouts = 2;
  metrics.Exposition(snapshot);
  loop.generated_tokens = 44;
  const std::string text = metrics.Exposition(snapshot);
  EXPECT_THAT(text, HasSubstr("hadal_requests_running 3"));
  EXPECT_THAT(text, HasSubstr("hadal_cache_usage_ratio 0.5"));
  EXPECT_THAT(text, HasSubstr("hadal_generated_tokens_total 44"));
  EXPECT_THAT(text, HasSubstr("hadal_grammar_waits_total 5"));
  EXPECT_THAT(text, HasSubstr("hadal_http_timeouts_total 2"));
  EXPECT_THAT(text, HasSubstr("hadal_build_info{version=\"1.2.3\"} 1"));
}

TEST(Metrics, ResponsesAreCountedByRouteAndCode) {
  Loaded metrics;
  AccessRecord record;
  record.route = "/v1/models";
  record.status = 200;
  metrics.ObserveHttp(record);
  record.route = "";
  record.status = 404;
  metrics.ObserveHttp(record);
  const std::string text = metrics.Exposition({});
  EXPECT_THAT(text, HasSubstr("hadal_http_requests_total{code=\"200\",route=\"/v1/models\"} 1"));
  EXPECT_THAT(text, HasSubstr("hadal_http_requests_total{code=\"404\",route=\"none\"} 1"));
}

TEST(Metrics, TokensInFlightGoWithTheirRequests) {
  Loaded metrics;
  const auto in_flight = [&] {
    const std::string text = metrics.Exposition({});
    const size_t at = text.find("\nhadal_tokens_in_flight ");
    return std::stoi(text.substr(at + 24));
  };
  GenerationRequest request;
  request.prompt = {1, 2, 3};
  request.deliver = [](const TokenEvent&, const Usage&) {};
  {
    const GenerationRequest refused = metrics.Watch(request);
    EXPECT_EQ(in_flight(), 3);
  }
  EXPECT_EQ(in_flight(), 0);
  request = metrics.Watch(std::move(request));
  TokenEvent event;
  event.token = 7;
  request.deliver(event, {});
  request.deliver(event, {});
  EXPECT_EQ(in_flight(), 5);
  event.finished = true;
  request.deliver(event, {});
  EXPECT_EQ(in_flight(), 0);
}

TEST(Metrics, DecodeStepsAreHeldAgainstTheMemory) {
  Loaded metrics;
  metrics.ObserveStep({.requests = 4, .decode_tokens = 4, .seconds = 0.02, .read_bytes = 0.5e9});
  metrics.ObserveStep({.requests = 2, .decode_tokens = 1, .prefill_tokens = 99, .seconds = 0.3});
  const std::string text = metrics.Exposition({});
  EXPECT_THAT(text, HasSubstr("hadal_decode_bandwidth_ratio 0.5\n"));
  EXPECT_THAT(text, HasSubstr("hadal_decode_read_bytes_total 500000000\n"));
  EXPECT_THAT(text, HasSubstr("hadal_decode_seconds_total 0.02\n"));
  EXPECT_THAT(text, HasSubstr("hadal_step_seconds_count{kind=\"decode\"} 1"));
  EXPECT_THAT(text, HasSubstr("hadal_step_seconds_count{kind=\"mixed\"} 1"));
  EXPECT_THAT(text, HasSubstr("hadal_step_requests_sum 6"));
  EXPECT_THAT(text, HasSubstr("hadal_step_tokens_sum 104"));
}

TEST(Metrics, WhatClientsSendMakesNoSeries) {
  Loaded metrics;
  const auto series = [&] {
    const std::string text = metrics.Exposition({});
    return std::count(text.begin(), text.end(), '\n');
  };
  AccessRecord record;
  record.status = 404;
  metrics.ObserveHttp(record);
  const auto before = series();
  for (int i = 0; i < 1000; ++i) {
    const std::string unique = std::to_string(i);
    record.method = record.request_id = record.peer = unique;
    metrics.ObserveHttp(record);
  }
  EXPECT_EQ(series(), before);
}

TEST(Metrics, ReasonsAreThereBeforeTheyCome) {
  Loaded metrics;
  metrics.CountFinish("tool_calls");
  const std::string text = metrics.Exposition({});
  EXPECT_THAT(text, HasSubstr("hadal_requests_finished_total{reason=\"error\"} 0"));
  EXPECT_THAT(text, HasSubstr("hadal_requests_finished_total{reason=\"tool_calls\"} 1"));
}

TEST(Metrics, WithoutTlsThereIsNoCertificateThatCouldExpire) {
  Loaded metrics;
  Metrics::Snapshot snapshot;
  EXPECT_THAT(metrics.Exposition(snapshot), testing::Not(HasSubstr("hadal_certificate")));
  snapshot.certificate_not_after = std::chrono::system_clock::time_point(std::chrono::seconds(2'000'000'000));
  EXPECT_THAT(metrics.Exposition(snapshot), HasSubstr("hadal_certificate_expiry_timestamp_seconds 2000000000\n"));
}

}  // namespace
}  // namespace hadal
