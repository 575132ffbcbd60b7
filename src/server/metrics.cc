#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <mutex>

#include "base/cpu_info.h"
#include "server/http_server.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;
using prometheus::Histogram;

// Edges at the objectives that alert rules and latency targets use: 0.5 s to the first token, 20 to 200 ms a token.
const Histogram::BucketBoundaries kFirstTokenSeconds{0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 5, 10, 30, 60};
const Histogram::BucketBoundaries kTokenSeconds{0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1};
const Histogram::BucketBoundaries kRequestSeconds{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
const Histogram::BucketBoundaries kTokens{1, 8, 32, 128, 512, 2048, 8192, 32768, 131072};

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

std::string_view FinishLabel(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength:
    case FinishReason::kContext: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kError: return "error";
  }
  return "?";
}

struct Metrics::Families {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Gauge>& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Histogram& histogram(const char* name, const char* help, const Histogram::BucketBoundaries& edges) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, edges);
  }

  prometheus::Family<prometheus::Counter>& http = counters("hadal_http_requests_total", "Responses by route and code.");
  prometheus::Family<prometheus::Counter>& finished =
      counters("hadal_requests_finished_total", "Generation requests that ended, by reason.");
  Histogram& queue = histogram("hadal_request_queue_seconds", "From submission to the first schedule.", kFirstTokenSeconds);
  Histogram& first_token =
      histogram("hadal_time_to_first_token_seconds", "From submission to the first token.", kFirstTokenSeconds);
  Histogram& token = histogram("hadal_time_per_output_token_seconds",
                               "Between two tokens of a request, mean over the request.", kTokenSeconds);
  Histogram& request = histogram("hadal_request_duration_seconds", "From submission to the last event.", kRequestSeconds);
  Histogram& http_seconds =
      histogram("hadal_http_request_duration_seconds", "From a request's first byte to its response's last.",
                kRequestSeconds);
  Histogram& prompt_tokens = histogram("hadal_request_prompt_tokens", "Prompt tokens of a request.", kTokens);
  Histogram& generated_tokens = histogram("hadal_request_generated_tokens", "Generated tokens of a request.", kTokens);

  // Set when the exposition is written, under this lock.
  std::mutex snapshot;
  void Count(const char* name, const char* help, double total) {
    prometheus::Counter& counter = counters(name, help).Add({});
    counter.Increment(total - counter.Value());
  }
  void Set(const char* name, const char* help, double value) { gauges(name, help).Add({}).Set(value); }
};

Metrics::Metrics(const Info& info) : families_(std::make_unique<Families>()) {
  families_->gauges("hadal_build_info", "1, with the build's version and kernels as labels.")
      .Add({{"version", info.version}, {"kernels", info.kernels}})
      .Set(1);
  families_->gauges("hadal_model_info", "1, with the model's name as label.").Add({{"model", info.model}}).Set(1);
  families_->Set("hadal_context_tokens", "Positions of one sequence at most.", static_cast<double>(info.context));
  families_->Set("hadal_planned_memory_bytes", "Memory that the plan reserved.", static_cast<double>(info.planned_bytes));
}

Metrics::~Metrics() = default;

void Metrics::ObserveHttp(const AccessRecord& record) {
  families_->http
      .Add({{"route", std::string(record.route.empty() ? "none" : record.route)}, {"code", std::to_string(record.status)}})
      .Increment();
  families_->http_seconds.Observe(std::chrono::duration<double>(record.duration).count());
}

/// Lives in the wrapped `deliver`; the engine thread is the only one to touch it.
class RequestTimer {
 public:
  RequestTimer(Metrics::Families& families, std::function<void(const TokenEvent&, const Usage&)> deliver)
      : families_(families), deliver_(std::move(deliver)) {}

  void operator()(const TokenEvent& event, const Usage& usage) {
    const Clock::time_point now = Clock::now();
    if (event.token >= 0 && first_ == Clock::time_point{}) {
      first_ = now;
      families_.first_token.Observe(Seconds(now - start_));
      families_.queue.Observe(usage.queue_seconds);
    }
    if (event.finished) {
      families_.finished.Add({{"reason", std::string(FinishLabel(event.reason))}}).Increment();
      families_.request.Observe(Seconds(now - start_));
      families_.prompt_tokens.Observe(static_cast<double>(usage.prompt));
      families_.generated_tokens.Observe(static_cast<double>(usage.generated));
      if (usage.generated > 1)
        families_.token.Observe(Seconds(now - first_) / static_cast<double>(usage.generated - 1));
    }
    deliver_(event, usage);
  }

 private:
  Metrics::Families& families_;
  std::function<void(const TokenEvent&, const Usage&)> deliver_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point first_{};
};

GenerationRequest Metrics::Watch(GenerationRequest request) {
  auto timer = std::make_shared<RequestTimer>(*families_, std::move(request.deliver));
  request.deliver = [timer](const TokenEvent& event, const Usage& usage) { (*timer)(event, usage); };
  return request;
}

std::string Metrics::Exposition(const LoopStats& loop, const ServerStats& server) {
  Families& f = *families_;
  const std::lock_guard lock(f.snapshot);
  const auto number = [](auto value) { return static_cast<double>(value); };
  f.Set("hadal_requests_running", "Requests in the engine's steps.", number(loop.running));
  f.Set("hadal_requests_waiting", "Requests that wait for their first or next step.", number(loop.waiting));
  f.Set("hadal_cache_blocks", "Blocks of the latent cache.", number(loop.total_blocks));
  f.Set("hadal_cache_blocks_free", "Blocks that nothing holds.", number(loop.free_blocks));
  f.Set("hadal_cache_blocks_prefix", "Blocks that the prefix cache alone holds.", number(loop.cached_blocks));
  f.Set("hadal_cache_usage_ratio", "Share of blocks that requests hold.",
        loop.total_blocks == 0 ? 0.0
                               : number(loop.total_blocks - loop.free_blocks - loop.cached_blocks) /
                                     number(loop.total_blocks));
  f.Set("hadal_step_requests", "Requests of the last step: the batch size.", number(loop.last_step_requests));
  f.Set("hadal_step_tokens", "Tokens of the last step.", number(loop.last_step_tokens));
  f.Set("hadal_step_seconds", "Duration of the last step.", loop.last_step_seconds);
  f.Set("hadal_seconds_since_progress", "Since a step ended while work was pending.", loop.seconds_since_progress);
  f.Count("hadal_steps_total", "Engine steps.", number(loop.steps));
  f.Count("hadal_steps_failed_total", "Engine steps that failed.", number(loop.failed_steps));
  f.Count("hadal_prompt_tokens_total", "Prompt tokens computed.", number(loop.prefill_tokens));
  f.Count("hadal_generated_tokens_total", "Tokens generated.", number(loop.generated_tokens));
  f.Count("hadal_preemptions_total", "Requests that lost their cache for a while.", number(loop.preemptions));
  f.Count("hadal_prefix_query_tokens_total", "Prompt tokens looked up in the prefix cache.",
          number(loop.prefix_query_tokens));
  f.Count("hadal_prefix_hit_tokens_total", "Of these, found.", number(loop.prefix_hit_tokens));
  f.Set("hadal_http_connections", "Open connections.", number(server.connections));
  f.Set("hadal_http_requests_in_flight", "Requests without a complete response.", number(server.requests_in_flight));
  f.Count("hadal_http_refused_connections_total", "Connections over a limit.", number(server.refused_connections));
  f.Count("hadal_tls_handshake_failures_total", "TLS handshakes that failed.", number(server.handshake_failures));
  f.Count("hadal_http_timeouts_total", "Connections ended by a time limit.", number(server.timeouts));
  f.Count("hadal_http_slow_readers_total", "Streams cut off because the client did not read.",
          number(server.slow_readers));
  f.Set("process_resident_memory_bytes", "Anonymous memory of the process.", number(AnonymousResidentBytes()));
  return prometheus::TextSerializer().Serialize(f.registry.Collect());
}

}  // namespace hadal
