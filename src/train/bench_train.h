// How fast whole training steps run here, and how near to the machine's arithmetic peak.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/spread.h"
#include "kernels/limits.h"
#include "train/ops/part_clock.h"
#include "train/trainer.h"

namespace hadal::train {

/// "train-20m": V3 in miniature, 21 M parameters: hidden 512, a dense layer and five of 16 experts, 4 to a
/// token; and the names that hadal synth knows. kNotFound as NamedShape.
Result<ModelConfig> BenchShape(std::string_view name);

struct BenchTrainOptions {
  std::string shape = "train-20m";
  int64_t sequence_length = 512;
  int64_t micro_batch_size = 4;
  int64_t accumulation_steps = 1;
  Compute compute = Compute::kBF16;  // not kF64
  Checkpointing checkpointing = Checkpointing::kNone;
  int threads = 1;
  int64_t repeat = 10;
  uint64_t seed = 0;
  /// Called with steps done and all; false stops. Null: nobody listens.
  std::function<bool(int64_t done, int64_t total)> progress;
};

struct BenchTrainReport {
  std::string date, shape, processor, isa, precision;
  int threads = 0;
  int64_t parameters = 0, active_parameters = 0;  // active: of a token, embedding not counted
  int64_t sequence_length = 0, micro_batch_size = 0, accumulation_steps = 0;
  Spread seconds = {};  // of a step
  Spread tokens_per_second = {};
  double operations = 0;     // of a step: TrainingFlops
  std::vector<MachineLimits> limit_samples = {};  // before the first step, after the last
  MachineLimits limits = {};  // their mean
  const char* limit = "";    // the one that the share is of: "bf16" or "f32"
  double share = 0;          // operations / second / limit, at the median
  PartClock::Seconds parts = {};  // of a step, medians by part
  uint64_t planned_bytes = 0, peak_rss_bytes = 0;
  double loss = 0;           // of the last step: that it trained at all
};

/// Steps of one rank on random tokens, each sequence one document: forward, backward and update; the first is
/// not timed. kInvalidArgument: a number out of range; kResourceExhausted: it does not fit the memory;
/// kCancelled: progress said so.
Result<BenchTrainReport> BenchTrain(const BenchTrainOptions& options);

/// One JSON object: date, shape, processor, isa, precision, threads, parameters, active_parameters,
/// sequence_length, micro_batch_size, accumulation_steps, step_seconds {min, median, max}, tokens_per_second
/// {the same}, operations_per_step, limits {f32_gflops, bf16_gflops, samples [{the same two}]}, limit, share,
/// parts {name: seconds}, planned_bytes, peak_rss_bytes, loss.
std::string BenchTrainJson(const BenchTrainReport& report);
/// The same as a table of at most 100 columns.
std::string BenchTrainTable(const BenchTrainReport& report);

}  // namespace hadal::train
