// The series themselves; for the two halves of Metrics only.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <atomic>
#include <mutex>

#include "server/metrics.h"
#include "server/process_metrics.h"

namespace hadal {

// Edges at the objectives that alert rules and latency targets use: 0.5 s to the first token, 20 to 200 ms a token.
using Edges = prometheus::Histogram::BucketBoundaries;
inline const Edges kFirstTokenSeconds{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5,
                                      0.75,  1,     2,    5,     10,   30,  60,  120};
inline const Edges kTokenSeconds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03,
                                 0.04,   0.05,  0.075,  0.1,   0.15, 0.2,   0.5,  1};
inline const Edges kRequestSeconds{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
inline const Edges kTokens{1, 8, 32, 128, 512, 2048, 8192, 32768, 131072};
inline const Edges kStepRequests{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

struct Metrics::Families {
  prometheus::Registry registry;

  prometheus::Family<prometheus::Gauge>& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Family<prometheus::Histogram>& histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }
  prometheus::Histogram& histogram(const char* name, const char* help, const Edges& edges) {
    return histograms(name, help).Add({}, edges);
  }

  prometheus::Family<prometheus::Counter>& http =
      counters("hadal_http_requests_total", "Responses by route and code.");
  prometheus::Histogram& http_seconds =
      histogram("hadal_http_request_duration_seconds", "From a request's first byte to its response's last.",
                kRequestSeconds);

  prometheus::Family<prometheus::Counter>& finished =
      counters("hadal_requests_finished_total", "Generations that ended, by reason.");
  prometheus::Histogram& queue = histogram("hadal_request_queue_seconds",
                                           "From submission to the first schedule.", kFirstTokenSeconds);
  prometheus::Histogram& prefill = histogram("hadal_request_prefill_seconds",
                                             "From the first schedule to the first token.", kFirstTokenSeconds);
  prometheus::Histogram& decode =
      histogram("hadal_request_decode_seconds", "From the first token to the last event.", kRequestSeconds);
  prometheus::Histogram& first_token = histogram("hadal_time_to_first_token_seconds",
                                                 "From submission to the first token.", kFirstTokenSeconds);
  prometheus::Histogram& between = histogram("hadal_inter_token_latency_seconds",
                                             "Between two tokens of a request, each pair.", kTokenSeconds);
  prometheus::Histogram& token =
      histogram("hadal_time_per_output_token_seconds",
                "Between two tokens of a request, mean over the request.", kTokenSeconds);
  prometheus::Histogram& request =
      histogram("hadal_request_duration_seconds", "From submission to the last event.", kRequestSeconds);
  prometheus::Histogram& prompt_tokens =
      histogram("hadal_request_prompt_tokens", "Prompt tokens of a request.", kTokens);
  prometheus::Histogram& generated_tokens =
      histogram("hadal_request_generated_tokens", "Generated tokens of a request.", kTokens);
  std::atomic<int64_t> tokens_in_flight{0};

  prometheus::Family<prometheus::Histogram>& step_seconds =
      histograms("hadal_step_seconds", "Duration of an engine step: decode alone, or mixed with prompts.");
  prometheus::Histogram& decode_step_seconds = step_seconds.Add({{"kind", "decode"}}, kTokenSeconds);
  prometheus::Histogram& mixed_step_seconds = step_seconds.Add({{"kind", "mixed"}}, kTokenSeconds);
  prometheus::Histogram& step_requests =
      histogram("hadal_step_requests", "Requests of an engine step: the batch size.", kStepRequests);
  prometheus::Histogram& step_tokens = histogram("hadal_step_tokens", "Tokens of an engine step.", kTokens);
  prometheus::Counter& read_bytes =
      counters("hadal_decode_read_bytes_total",
               "Bytes that steps without prompts must read: weights, experts chosen, latents.")
          .Add({});
  prometheus::Counter& read_seconds =
      counters("hadal_decode_seconds_total", "Duration of steps without prompts.").Add({});
  double memory_bytes_per_second = 0;  // constant once there is an engine
  std::atomic<double> last_share{0};   // of memory_bytes_per_second, by the last step without prompts

  // Set when the exposition is written, under this lock.
  std::mutex snapshot;
  void Count(const char* name, const char* help, double total) {
    prometheus::Counter& counter = counters(name, help).Add({});
    counter.Increment(total - counter.Value());
  }
  void Set(const char* name, const char* help, double value) { gauges(name, help).Add({}).Set(value); }
  void SetLoop(const LoopStats& loop);
  void SetServer(const Snapshot& snapshot);
  void SetProcess(const ProcessStats& process);
};

}  // namespace hadal
