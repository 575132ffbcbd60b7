// A training run from a model folder and token shards to another model folder: steps, log, checkpoints, evaluation.
#pragma once

#include <functional>
#include <string>

#include "base/file.h"
#include "train/trainer.h"

namespace hadal::train {

struct RunOptions {
  Path model;           // config.json, tokenizer and, unless `fresh`, weights
  Path data;            // token shards
  Path held_out;        // token shards for evaluation; empty: none
  Path out;             // run folder: checkpoints/, log.jsonl, loss.svg, and at the end model/ (and adapter/)
  bool fresh = false;   // random parameters instead of the folder's
  bool resume = false;  // go on from the newest checkpoint in `out`
  MeshShape mesh;
  TrainerOptions trainer;
  int64_t save_every = 0;      // updates; 0: at the end only
  int64_t evaluate_every = 0;  // updates; 0: at the end only
  int64_t keep = 2;            // checkpoints
  int64_t prefetch = 3;        // updates of data
  uint64_t seed = 0;
  int threads = 1;
  std::string export_weights = "bf16";
  /// Bytes that this rank may take; 0: no check.
  uint64_t available_bytes = 0;
  /// bf16 (or f32) operations a second of one rank, measured; 0: shares are not told.
  double peak_flops = 0;
};

/// What one update was, for those who watch.
struct RunProgress {
  StepReport report;
  int64_t total_steps = 0;
  double seconds = 0;        // of this update, data and all
  double waited_seconds = 0; // of them, for data
  double tokens_per_second = 0, flops_per_second = 0;  // of all ranks
  double peak_share = 0;     // of all ranks' peak; 0: unknown
  double epochs = 0;
  double seconds_left = 0;
};

struct Evaluation {
  double loss = 0, mtp_loss = 0, accuracy = 0, mtp_accuracy = 0;
  int64_t step = 0;
};

struct RunListener {
  /// Once, before the first update, on every rank: what it will take.
  std::function<void(const TrainerPlan& plan)> planned;
  /// On rank 0.
  std::function<void(const RunProgress& progress)> stepped;
  std::function<void(const Evaluation& evaluation)> evaluated;
  std::function<void(const std::string& what)> noted;
  /// On every rank, between updates: whether to stop. One rank is enough; the run then saves and ends.
  std::function<bool()> interrupted;
};

struct RunResult {
  int64_t steps = 0;
  StepReport last;
  Evaluation evaluation;
  bool interrupted = false;
  TrainerPlan plan;
  uint64_t peak_bytes = 0;  // of this process, most that was resident
  Path model;               // the folder that was written; empty where the run was interrupted
  Path adapter;             // of a run that trains adapters: theirs, already added in `model`
};

/// One rank of the run; all ranks of `world` call it together with the same options. kFailedPrecondition: the run folder
/// holds a run already and `resume` is not set. Else the errors of its parts; after one the last good checkpoint stays.
Result<RunResult> RunTraining(Communicator& world, const RunOptions& options, const RunListener& listener);

}  // namespace hadal::train
