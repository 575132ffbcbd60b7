// How fast a model runs here, and how near to the machine's limits.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/spread.h"
#include "engine/engine.h"
#include "kernels/limits.h"

namespace hadal {

/// At depth D each of `batch` sequences has D tokens in the cache, put there before the clock starts. Prefill
/// then computes `prompt` tokens of each, in chunks of engine.step_tokens, with the logits of each one's
/// last; decode computes `generate` steps of one generated token each, from D on again. Ids are random, from
/// `seed`: what a model does with a token takes the same time whatever the token, and its routes are as
/// spread as they get.
struct BenchOptions {
  /// sequences and logit_rows follow from what is measured, and so does context where it is 0.
  EngineOptions engine;
  int64_t prompt = 512;
  int64_t generate = 128;
  int64_t depth = 0;
  std::vector<int64_t> batches = {1};
  int64_t repeat = 5;
  uint64_t seed = 0;
  uint64_t probe_bytes =
      0;  // streamed to measure the bandwidth; 0: LimitProbe::PreferredBytes, less if it must
  /// Called with how far it is: "loading" in bytes (which false does not stop), then "filling the cache",
  /// "prefill" and "decode" in tokens of all of them together. False stops. Null: nobody listens.
  std::function<bool(std::string_view stage, uint64_t done, uint64_t total)> progress;
};

struct BatchResult {
  int64_t batch = 0;
  int64_t prompt = 0, generate = 0, depth = 0;
  Spread prefill_tps, decode_tps;  // tokens a second of all sequences together
  double prefill_operations = 0;   // of one repeat; see PrefillOperations
  double step_bytes = 0;           // a decode step's, on average; see DecodeStepBytes
  double experts_per_layer = 0;    // distinct experts a decode step reads in a MoE layer, on average
  MachineLimits limits;            // mean of those measured just before and just after this batch
  const char* prefill_limit = "";  // which of them prefill is held against
  double prefill_share = 0;        // operations / second / limit, at the median
  double decode_share = 0;         // bytes / second / read_gbps, at the median
  double bytes_per_token() const { return step_bytes / static_cast<double>(batch); }
};

struct BenchReport {
  std::string model, processor, isa, weights, date;  // date: UTC, ISO 8601
  int threads = 0;
  uint64_t probe_bytes = 0;
  std::vector<MachineLimits> limit_samples;  // before the first batch, between batches, after the last
  MachineLimits limits;                      // their mean
  std::vector<BatchResult> results;
  double load_seconds = 0, load_gbps = 0;
  uint64_t peak_rss_bytes =
      0;  // the process's most, without the memory that is streamed to measure the bandwidth
  uint64_t planned_bytes = 0;  // MemoryPlan::total
};

/// kInvalidArgument: a number out of range, or more positions than the model or engine.context has.
/// kCancelled: progress said so. Else as Engine::Load.
Result<BenchReport> BenchModel(const Path& dir, const BenchOptions& options);

/// What the options ask for is in range, whatever the model.
Status ValidateBench(const BenchOptions& options);

}  // namespace hadal
