#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http_server.h"

namespace hadal {
namespace {

using testing::HasSubstr;

Metrics::Info TestInfo() { return {"1.2.3", "avx2", "m", 4096, 1000}; }

TEST(Metrics, RequestsAreTimedAndCountedByReason) {
  Metrics metrics(TestInfo());
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
  const std::string text = metrics.Exposition({}, {});
  EXPECT_THAT(text, HasSubstr("hadal_requests_finished_total{reason=\"length\"} 1"));
  EXPECT_THAT(text, HasSubstr("hadal_time_to_first_token_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("hadal_time_per_output_token_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("hadal_request_prompt_tokens_sum 12"));
  EXPECT_THAT(text, HasSubstr("hadal_time_to_first_token_seconds_bucket{le=\"0.5\"} 1"));
}

TEST(Metrics, SnapshotsBecomeGaugesAndCountersThatDoNotDouble) {
  Metrics metrics(TestInfo());
  LoopStats loop;
  loop.running = 3;
  loop.total_blocks = 10;
  loop.free_blocks = 4;
  loop.cached_blocks = 1;
  loop.generated_tokens = 40;
  ServerStats server;
  server.timeouts = 2;
  metrics.Exposition(loop, server);
  loop.generated_tokens = 44;
  const std::string text = metrics.Exposition(loop, server);
  EXPECT_THAT(text, HasSubstr("hadal_requests_running 3"));
  EXPECT_THAT(text, HasSubstr("hadal_cache_usage_ratio 0.5"));
  EXPECT_THAT(text, HasSubstr("hadal_generated_tokens_total 44"));
  EXPECT_THAT(text, HasSubstr("hadal_http_timeouts_total 2"));
  EXPECT_THAT(text, HasSubstr("hadal_build_info{kernels=\"avx2\",version=\"1.2.3\"} 1"));
}

TEST(Metrics, ResponsesAreCountedByRouteAndCode) {
  Metrics metrics(TestInfo());
  AccessRecord record;
  record.route = "/v1/models";
  record.status = 200;
  metrics.ObserveHttp(record);
  record.route = "";
  record.status = 404;
  metrics.ObserveHttp(record);
  const std::string text = metrics.Exposition({}, {});
  EXPECT_THAT(text, HasSubstr("hadal_http_requests_total{code=\"200\",route=\"/v1/models\"} 1"));
  EXPECT_THAT(text, HasSubstr("hadal_http_requests_total{code=\"404\",route=\"none\"} 1"));
}

}  // namespace
}  // namespace hadal
