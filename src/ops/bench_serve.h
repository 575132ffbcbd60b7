// The load of hadal bench serve: requests to a server of OpenAI's API, in a closed or an open loop, and their
// times.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ops/answer_stream.h"
#include "ops/arrivals.h"
#include "ops/dialect.h"
#include "ops/histogram.h"

namespace hadal {

/// Limits that a good request keeps, in milliseconds; 0: none.
struct Slo {
  double ttft_ms = 0, tpot_ms = 0, e2e_ms = 0;
  bool any() const { return ttft_ms > 0 || tpot_ms > 0 || e2e_ms > 0; }
};

struct ServeBenchOptions {
  DialectOptions dialect;
  PromptOptions prompts;
  Slo slo;
  /// Closed loop: that many requests at a time, a new one when one has ended. One point each.
  std::vector<int64_t> concurrency = {1};
  /// Open loop, where not empty: requests a second, sent when they arrive whatever the server does. One point
  /// each.
  std::vector<double> rates = {};
  ArrivalKind arrivals = ArrivalKind::kPoisson;
  int64_t max_in_flight = 1024;  // of an open loop: what arrives beyond waits here, and its time counts
  int64_t requests = 0;          // of a point; 0: `duration` decides
  double duration = 0;           // seconds in which requests are sent
  int64_t warmup = -1;           // requests before each point that count nowhere; -1: as many as run at once
  double timeout = 600;          // seconds of a request

  /// Called some ten times a second; false ends the run with what there is.
  std::function<bool(const std::string& stage, uint64_t done, uint64_t total)> progress = {};
};

/// kInvalidArgument: a number out of range, or loops of both kinds.
Status CheckServeBench(const ServeBenchOptions& options);

/// One concurrency or rate. Times in seconds.
struct ServePoint {
  int64_t concurrency = 0;  // 0: open loop
  double rate = 0;          // 0: closed loop
  int64_t sent = 0, succeeded = 0, good = 0;
  int64_t stopped = 0;                                             // by the one who interrupted
  int64_t answers_cut = 0;                                         // shorter than asked
  double seconds = 0;                                              // from the first sent to the last ended
  int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0;  // of those that succeeded
  int64_t most_in_flight = 0;
  int64_t connections = 0;
  double latest = 0;  // sent after its time, at worst
  LatencyHistogram ttft, tpot, itl, e2e;
  std::map<std::string, int64_t> errors;        // by kind
  std::map<std::string, std::string> examples;  // a sentence each

  double PerSecond(int64_t count) const { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }
};

struct ServeBenchReport {
  std::string url, date, host;  // date: UTC, ISO 8601; host: the load generator's processor
  ServeBenchOptions options;
  Dialect dialect;
  std::vector<ServePoint> points;
  bool interrupted = false;
};

/// Probes the server, then measures point after point. Time to the first token, between tokens and to the end
/// count from when a request should have been sent: where the server or this program falls behind an open
/// loop, the wait is in the figures (no coordinated omission). Errors are those of CheckServeBench,
/// LoadClient::Create and Probe; requests that fail later are counted.
Result<ServeBenchReport> BenchServe(Endpoint endpoint, const ServeBenchOptions& options);

}  // namespace hadal
