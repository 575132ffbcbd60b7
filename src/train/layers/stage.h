// One pipeline stage of the model: embedding (on the first), layers, losses (on the last), forward and
// backward of several micro-batches on their way.
#pragma once

#include <memory>
#include <vector>

#include "train/layers/loss_head.h"

namespace hadal::train {

struct StageLimits {
  int64_t rows = 0;   // tokens of every micro-batch
  int64_t slots = 1;  // micro-batches between their forward and their backward, at most
  Checkpointing checkpointing = Checkpointing::kNone;
};

/// How losses enter the whole: for all micro-batches of a step.
struct StepWeights {
  LossWeights loss;
  double balance = 0;  // of each sequence's balance loss
};

template <typename T>
class Stage {
 public:
  /// `config`, `mesh`, `params` and what `ops` refers to must outlive the stage. kResourceExhausted: the
  /// activations do not fit, with their bytes.
  static Result<std::unique_ptr<Stage>> Create(const ModelConfig& config, const ProcessMesh& mesh,
                                               ParameterSet<T>& params, const OpContext& ops,
                                               const StageLimits& limits);
  /// Bytes that Create takes.
  static uint64_t PlannedBytes(const ModelConfig& config, const ProcessMesh& mesh, const StageLimits& limits);

  /// Runs micro-batch `batch` in `slot`. input: [T, d] from the stage before; ignored on the first. Returns
  /// the output [T, d] for the stage after, valid until the slot's next forward; on the last stage losses are
  /// added to sums() and, with `backward`, their gradients to the parameters.
  Result<View<const T>> Forward(int64_t slot, const MicroBatch& batch, View<const T> input,
                                const StepWeights& weights, bool backward);
  /// dout: [T, d], the gradient of the slot's output; ignored on the last stage. Returns that of the input;
  /// empty on the first stage.
  Result<View<const T>> Backward(int64_t slot, const MicroBatch& batch, View<const T> dout,
                                 const StepWeights& weights);

  /// Since the last reset.
  const LossSums& sums() const { return sums_; }
  /// By layer of the stage, the prediction layer last; empty for dense ones.
  std::vector<LayerStatistics>& statistics() { return statistics_; }
  /// Layer ids of statistics().
  const std::vector<int64_t>& layer_ids() const { return layer_ids_; }
  void ResetSums();
  void set_probe(Probe<T>* probe) { probe_ = probe; }

 private:
  struct Slot {
    std::vector<LayerSaved<T>> layers;
    View<T> out;   // [T, d]
    View<T> dout;  // last stage: the gradient that the losses gave
  };
  /// params: null to count memory.
  Stage(const ModelConfig& config, const ProcessMesh& mesh, ParameterSet<T>* params, const OpContext& ops,
        const StageLimits& limits, Arena& arena);
  LayerContext<T> Context(const MicroBatch& batch, const StepWeights& weights) const;

  const ModelConfig& config_;
  const ProcessMesh& mesh_;
  ParameterSet<T>* params_;
  OpContext ops_;
  StageLimits limits_;
  std::unique_ptr<RotaryTable<T>> rope_;
  std::vector<int64_t> layer_ids_;
  std::vector<Slot> slots_;
  LayerWorkspace<T> work_;
  View<T> d_;  // [T, d], the gradient on its way through the layers
  std::unique_ptr<LossHead<T>> head_;
  LossSums sums_;
  std::vector<LayerStatistics> statistics_;
  Probe<T>* probe_ = nullptr;
  Arena arena_;
};

}  // namespace hadal::train
