// The soak test of a server: hours of users of every kind, and then the question whether it is as it was.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ops/bench_serve.h"

namespace hadal {

struct SoakOptions {
  std::string model;
  double seconds = 20;    // a quarter of it warms up, at most 300 s
  int64_t at_once = 8;    // visitors
  uint64_t seed = 0;      // what they are and want
  Endpoint metrics = {};  // the server's own figures: its address without /v1, and a token of scope metrics
  int64_t process =
      0;  // the server's id on this machine: descriptors and memory come from /proc; 0: not known
  /// As ServeBenchOptions has it.
  std::function<bool(const std::string& stage, uint64_t done, uint64_t total)> progress = {};
};

struct SoakCheck {
  std::string name;
  bool passed = false, checked = true;
  std::string found;
};

struct SoakReport {
  std::string url, date;
  double seconds = 0;
  std::map<std::string, int64_t> visits;      // by kind, all that ended
  std::map<std::string, int64_t> unexpected;  // by kind and outcome
  std::vector<std::string> examples;          // of these
  std::vector<SoakCheck> checks;
  bool interrupted = false;
  bool passed() const;
};

/// Visitors of eleven kinds, chosen by the seed: whole answers, those who leave in mid-stream or at once,
/// slow and stalled readers, JSON that is none, wrong fields, bodies that are too large, wrong tokens, bytes
/// that are no TLS, routes that are not there. Then it waits until the server is idle, and checks:
///   - every visit ended as its kind must;
///   - nothing runs or waits, no response is open;
///   - every block of the cache is free or kept for its prompt;
///   - the server finished as many requests as were asked, within those that left;
///   - it holds no more descriptors than after the warm-up;
///   - its memory is flat: neither the straight line through the samples after the warm-up nor what is left
///   when idle
///     rises by more than the greater of 8 MiB and 2 %;
///   - the first request of all, asked again, has the same answer.
/// Errors are those of LoadClient::Create and of a first request that fails.
Result<SoakReport> Soak(Endpoint endpoint, const SoakOptions& options);

std::string SoakText(const SoakReport& report);
std::string SoakJson(const SoakReport& report);

/// Of the straight line through (x, y) with the least squares; 0 for fewer than two x.
double SlopeOf(const std::vector<std::pair<double, double>>& samples);

}  // namespace hadal
