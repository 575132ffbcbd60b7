// The training step: micro-batches through the pipeline, gradients to the optimizer, biases to the load.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "train/layers/stage.h"
#include "train/lora.h"
#include "train/optimizer.h"
#include "train/pipeline.h"
#include "train/schedule.h"

namespace hadal::train {

struct TrainerOptions {
  int64_t sequence_length = 0;    // tokens
  int64_t micro_batch_size = 1;   // sequences of one forward
  int64_t accumulation_steps = 1; // micro-batches of one update, on each replica
  PipelineSchedule schedule = PipelineSchedule::k1F1B;
  Checkpointing checkpointing = Checkpointing::kNone;
  Compute compute = Compute::kF32;  // kF64 for T = double
  AdamWOptions adam;
  GradientCompression compression = GradientCompression::kNone;
  LearningRate rate;
  double mtp_weight = 0.3;       // lambda of the prediction layer's loss
  double balance_weight = 1e-4;  // alpha of the sequence-wise balance loss
  double bias_update = 1e-3;     // gamma of the aux-loss-free balance
  double initial_loss_scale = 65536;  // kF16
  int64_t loss_scale_patience = 1000;
  LoraOptions lora;              // if on: adapters are trained, and nothing else of the model changes

  int64_t micro_batch_rows() const { return sequence_length * micro_batch_size; }
};

struct StepReport {
  int64_t step = 0;  // updates tried so far
  double loss = 0, mtp_loss = 0,
         balance_loss = 0;  // means over targets; over sequences, summed over layers; unweighted
  double accuracy = 0, mtp_accuracy = 0;  // share of targets with the highest logit
  double gradient_norm = 0, learning_rate = 0, loss_scale = 1;
  bool skipped = false;         // FP16: a loss or gradient overflowed, nothing was changed
  int64_t tokens = 0;           // of all replicas, filling included
  int64_t main_targets = 0, mtp_targets = 0;
  double dropped_share = 0;     // of routed copies, beyond capacity
  double load_imbalance = 0;    // the busiest expert's tokens over the mean, worst layer; 0 without experts
  int64_t bytes_reduced = 0, bytes_uncompressed = 0;  // of gradients, all ranks
};

struct TrainerPlan {
  uint64_t parameters = 0, gradients = 0, optimizer = 0, activations = 0, scratch = 0;
  uint64_t data = 0;  // micro-batches that are made ahead: the loader's, and 0 in a trainer's own plan
  uint64_t total() const { return parameters + gradients + optimizer + activations + scratch + data; }
};

/// What one rank does. All ranks of the mesh call the same functions together.
template <typename T>
class Trainer {
 public:
  /// `mesh` and `pool` must outlive the trainer. The parameters are zero: Initialize, or load them into
  /// params().
  static Result<std::unique_ptr<Trainer>> Create(const ModelConfig& config, const ProcessMesh& mesh,
                                                 ThreadPool& pool, const TrainerOptions& options);
  /// Bytes that Create takes on this rank, by use.
  static Result<TrainerPlan> Plan(const ModelConfig& config, const ProcessMesh& mesh, int threads,
                                  const TrainerOptions& options);

  /// Random parameters, the same for any mesh: a value depends on seed, tensor and place in the whole tensor.
  void Initialize(uint64_t seed);

  /// One update from this replica's `accumulation_steps` micro-batches. kDataLoss where a loss (of the next
  /// token, the prediction layer or the balance) or the gradient's norm is not finite, naming the first op
  /// that gave such a value or gradient; under FP16 with a scale that can still fall that step is skipped
  /// instead.
  Result<StepReport> Step(std::span<const MicroBatch> batches);
  /// Losses without an update.
  Result<StepReport> Evaluate(std::span<const MicroBatch> batches);

  /// The parameters are those to begin with: adapters, where there are any, start from them. Initialize does
  /// it itself.
  void StartFromParameters();
  /// The optimizer's numbers were set anew: the weights follow.
  void FollowTrained();

  /// The model that is computed; with adapters, its weights with theirs added.
  ParameterSet<T>& params() { return *params_; }
  /// What the optimizer trains: the same, or the adapters' factors.
  ShardSet<T>& trained() { return lora_ ? lora_->factors() : *params_; }
  /// Null without adapters.
  Lora<T>* lora() { return lora_.get(); }
  AdamW<T>& optimizer() { return *optimizer_; }
  LossScale& loss_scale() { return scale_; }
  /// Updates so far, skipped ones included; what the learning rate goes by.
  int64_t step() const { return step_; }
  void set_step(int64_t step) { step_ = step; }
  const TrainerOptions& options() const { return options_; }
  const ModelConfig& config() const { return config_; }
  /// What this rank spends its time with.
  PartClock& clock() { return clock_; }
  const ProcessMesh& mesh() const { return mesh_; }

 private:
  Trainer(const ModelConfig& config, const ProcessMesh& mesh, const TrainerOptions& options)
      : config_(config), mesh_(mesh), options_(options) {}
  Result<StepWeights> Weigh(std::span<const MicroBatch> batches, double scale);
  Status RunPipeline(std::span<const MicroBatch> batches, const StepWeights& weights, bool backward);
  /// Brings the gradients that the optimizer takes to where it takes them.
  Status GatherGradients();
  void ZeroGrads();
  Status SumCopies();
  Result<UpdateReport> Update(double learning_rate);
  Status BalanceLoad(StepReport& report);
  Result<StepReport> Losses(const StepWeights& weights);
  /// Runs the step again without an update and says where a value first was no number, of which `what` is
  /// none.
  Status Diagnose(std::span<const MicroBatch> batches, const StepWeights& weights, std::string_view what);

  const ModelConfig config_;
  const ProcessMesh& mesh_;
  const TrainerOptions options_;
  std::unique_ptr<ParameterSet<T>> params_;
  std::unique_ptr<Lora<T>> lora_;
  std::unique_ptr<AdamW<T>> optimizer_;
  std::optional<GemmContext> gemm_;
  std::optional<OpScratch> scratch_;
  PartClock clock_;
  std::unique_ptr<Stage<T>> stage_;
  Buffer<T> received_;  // [T, d], activations or gradients from a neighbour
  LossScale scale_;
  int64_t step_ = 0;
  int64_t sequences_ = 0;  // of the step, all replicas
};

}  // namespace hadal::train
