// What the service says of itself to Prometheus. docs/observability.md lists the names.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine_loop.h"
#include "server/http_server.h"

namespace hadal {

/// Times of one request on its way through the engine. Thread-safe where Metrics is.
class RequestTimer;

/// Counters, gauges and histograms under the names hadal_…; all units are Prometheus' base units (seconds, bytes,
/// tokens). Thread-safe. Histogram buckets have edges at the service's objectives: 0.5 s for the first token (the
/// alert rules' P99), and the latency target for the tokens after it. The number of series is bounded: labels are
/// routes of the table ("none" for what is not there), status codes, reasons and kinds of steps.
class Metrics {
 public:
  Metrics(const std::string& version, const std::string& model);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// What is known once the model is loaded; called once, before the first step.
  struct EngineInfo {
    std::string kernels;
    int64_t context = 0;
    uint64_t planned_bytes = 0;
    double memory_bytes_per_second = 0;  // what decode steps are held against; 0: unknown
  };
  void SetEngine(const EngineInfo& info);

  /// One response went out (or could not).
  void ObserveHttp(const AccessRecord& record);
  /// One step of the engine; allocates nothing.
  void ObserveStep(const StepRecord& step);
  /// A choice of an API call ended, as ApiContext::on_finish names it.
  void CountFinish(std::string_view reason);

  /// `request` with its `deliver` wrapped, so that queue time, time to the first token, time per token, duration
  /// and tokens are observed as the events pass.
  GenerationRequest Watch(GenerationRequest request);

  /// What is asked of the others when the exposition is written.
  struct Snapshot {
    LoopStats loop;  // all zero while the model is loaded
    ServerStats server;
    bool ready = false, loaded = false;
    std::chrono::system_clock::time_point certificate_not_after{};  // the epoch: no TLS
    uint64_t state_free_bytes = 0, state_size_bytes = 0;  // of the file system of the state folder
    uint64_t log_dropped = 0;
  };
  /// The text exposition format, version 0.0.4.
  std::string Exposition(const Snapshot& snapshot);

 private:
  friend class RequestTimer;
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace hadal
