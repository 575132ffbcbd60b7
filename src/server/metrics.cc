#include "server/metrics.h"

#include "server/metrics_families.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

Metrics::Metrics(const std::string& version, const std::string& model)
    : families_(std::make_unique<Families>()) {
  Families& f = *families_;
  f.gauges("hadal_build_info", "1, with the build's version as label.").Add({{"version", version}}).Set(1);
  f.gauges("hadal_model_info", "1, with the model's name as label.").Add({{"model", model}}).Set(1);
  // A reason that has not come yet is 0, not absent: rates and alerts need the series from the start.
  for (const char* reason : {"stop", "length", "tool_calls", "cancelled", "error"})
    f.finished.Add({{"reason", reason}});
}

Metrics::~Metrics() = default;

void Metrics::SetEngine(const EngineInfo& info) {
  Families& f = *families_;
  f.gauges("hadal_engine_info", "1, with the instruction set of the kernels as label.")
      .Add({{"kernels", info.kernels}})
      .Set(1);
  f.Set("hadal_context_tokens", "Positions of one sequence at most.", static_cast<double>(info.context));
  f.Set("hadal_planned_memory_bytes", "Memory that the plan reserved.",
        static_cast<double>(info.planned_bytes));
  f.Set("hadal_memory_bandwidth_bytes_per_second",
        "What all threads read together, measured at start or set; 0: unknown.",
        info.memory_bytes_per_second);
  f.memory_bytes_per_second = info.memory_bytes_per_second;
}

void Metrics::ObserveHttp(const AccessRecord& record) {
  families_->http
      .Add({{"route", std::string(record.route.empty() ? "none" : record.route)},
            {"code", std::to_string(record.status)}})
      .Increment();
  families_->http_seconds.Observe(std::chrono::duration<double>(record.duration).count());
}

void Metrics::ObserveStep(const StepRecord& step) {
  Families& f = *families_;
  const bool decode = step.prefill_tokens == 0;
  (decode ? f.decode_step_seconds : f.mixed_step_seconds).Observe(step.seconds);
  f.step_requests.Observe(static_cast<double>(step.requests));
  f.step_tokens.Observe(static_cast<double>(step.decode_tokens + step.prefill_tokens));
  if (!decode || step.seconds <= 0) return;
  f.read_bytes.Increment(step.read_bytes);
  f.read_seconds.Increment(step.seconds);
  if (f.memory_bytes_per_second > 0) f.last_share = step.read_bytes / step.seconds / f.memory_bytes_per_second;
}

void Metrics::CountFinish(std::string_view reason) {
  families_->finished.Add({{"reason", std::string(reason)}}).Increment();
}

/// Lives in the wrapped `deliver`; once submitted, the engine thread is the only one to touch it.
class RequestTimer {
 public:
  RequestTimer(Metrics::Families& families, int64_t prompt,
               std::function<void(const TokenEvent&, const Usage&)> deliver)
      : families_(families), deliver_(std::move(deliver)), in_flight_(prompt) {
    families_.tokens_in_flight += in_flight_;
  }
  /// Also of requests that were refused.
  ~RequestTimer() { families_.tokens_in_flight -= in_flight_; }

  void operator()(const TokenEvent& event, const Usage& usage) {
    const Clock::time_point now = Clock::now();
    if (event.token >= 0) OnToken(now, usage);
    if (event.finished) OnEnd(now, usage);
    deliver_(event, usage);
  }

 private:
  void OnToken(Clock::time_point now, const Usage& usage) {
    ++in_flight_;
    ++families_.tokens_in_flight;
    if (first_ == Clock::time_point{}) {
      first_ = now;
      families_.first_token.Observe(Seconds(now - start_));
      families_.queue.Observe(usage.queue_seconds);
      families_.prefill.Observe(std::max(0.0, Seconds(now - start_) - usage.queue_seconds));
    } else {
      families_.between.Observe(Seconds(now - last_));
    }
    last_ = now;
  }
  void OnEnd(Clock::time_point now, const Usage& usage) {
    families_.tokens_in_flight -= std::exchange(in_flight_, 0);
    families_.request.Observe(Seconds(now - start_));
    families_.prompt_tokens.Observe(static_cast<double>(usage.prompt));
    families_.generated_tokens.Observe(static_cast<double>(usage.generated));
    if (first_ != Clock::time_point{}) families_.decode.Observe(Seconds(now - first_));
    if (usage.generated > 1)
      families_.token.Observe(Seconds(last_ - first_) / static_cast<double>(usage.generated - 1));
  }

  Metrics::Families& families_;
  std::function<void(const TokenEvent&, const Usage&)> deliver_;
  int64_t in_flight_;  // tokens of this request, prompt and answer
  const Clock::time_point start_ = Clock::now();
  Clock::time_point first_{}, last_{};
};

GenerationRequest Metrics::Watch(GenerationRequest request) {
  auto timer = std::make_shared<RequestTimer>(*families_, static_cast<int64_t>(request.prompt.size()),
                                              std::move(request.deliver));
  request.deliver = [timer](const TokenEvent& event, const Usage& usage) { (*timer)(event, usage); };
  return request;
}

}  // namespace hadal
