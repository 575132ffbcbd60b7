// What the service says of itself to Prometheus.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine_loop.h"

namespace hadal {

struct AccessRecord;
struct ServerStats;

/// Times of one request on its way through the engine. Thread-safe where Metrics is.
class RequestTimer;

/// Counters, gauges and histograms under the names hadal_…; all units are Prometheus' base units (seconds, bytes,
/// tokens). Thread-safe. Histogram buckets have edges at the service's objectives: 0.5 s for the first token (the
/// alert rules' P99), and the latency target for the tokens after it.
class Metrics {
 public:
  /// Labels of hadal_build_info and hadal_model_info: constant for the life of the process.
  struct Info {
    std::string version, kernels, model;
    int64_t context = 0;
    uint64_t planned_bytes = 0;
  };
  explicit Metrics(const Info& info);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// One response went out (or could not).
  void ObserveHttp(const AccessRecord& record);

  /// `request` with its `deliver` wrapped, so that queue time, time to the first token, time per token, duration,
  /// tokens and the finish reason are observed as the events pass.
  GenerationRequest Watch(GenerationRequest request);

  /// The text exposition format, version 0.0.4.
  std::string Exposition(const LoopStats& loop, const ServerStats& server);

 private:
  friend class RequestTimer;
  struct Families;
  std::unique_ptr<Families> families_;
};

/// "stop", "length", …: the label of a finish reason, as the API spells it.
std::string_view FinishLabel(FinishReason reason);

}  // namespace hadal
