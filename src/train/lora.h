// Fine-tuning with low-rank adapters (LoRA, arXiv 2106.09685; model/lora.h has the format): of some Linears
// the sum W = W0 + alpha / r * B A is what the model computes with, and A and B are what the optimizer
// trains.
//
// W is kept in the place of the parameter, made anew after each update, so that forward and backward know
// nothing of adapters; the gradients of A and B follow from W's. That costs a copy of each adapted W0 and the
// gradients of whole weights, and saves the moments of all but A and B.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/gemm.h"
#include "train/layers/parameters.h"

namespace hadal::train {

struct LoraOptions {
  int64_t rank = 0;  // r; 0: no adapters
  double alpha = 16;
  /// "attention": its projections; "all": every Linear but router, embedding and head; or ends of names with
  /// commas between ("o_proj,shared_experts.up_proj").
  std::string targets = "attention";
  uint64_t seed = 0;  // of A
  std::string base = "";  // fingerprint of the model that is adapted, or empty

  bool on() const { return rank > 0; }
  double scale() const { return alpha / static_cast<double>(rank); }
  /// All but the seed, as checkpoints note it; empty without adapters.
  std::string Text() const;
};

/// The weights to adapt, in the model's order, prediction layers included. kInvalidArgument: a rank or alpha
/// out of range, or a target that names no Linear of the model.
Result<std::vector<TensorSpec>> LoraTargets(const ModelConfig& config, const LoraOptions& options);

/// A rank's part of the adapters.
///
/// A tensor-parallel rank that has rows of W has those of B, and all of A; one that has columns of W has
/// those of A, and all of B. What all have gets a part of its gradient from each: these factors come first in
/// their group, and are summed in one go.
struct LoraPlan {
  struct Target {
    size_t weight;     // index among the model's shards
    size_t a, b;       // among `factors`
    int64_t base = 0;  // where W0 lies, elements
  };
  std::vector<Shard> factors;
  std::vector<Target> targets;
  int64_t dense_sums = 0,
          expert_sums = 0;  // leading elements of each group to be summed over tensor-parallel ranks
  int64_t base_elements = 0;

  static Result<LoraPlan> Of(const ModelConfig& config, const std::vector<Shard>& shards,
                             const ProcessMesh& mesh, const LoraOptions& options);
};

template <typename T>
class Lora {
 public:
  /// `params` and `mesh` must outlive it.
  static Result<std::unique_ptr<Lora>> Create(const ModelConfig& config, ParameterSet<T>& params,
                                              const ProcessMesh& mesh, const LoraOptions& options);

  /// A and B of each target with their gradients, named as in model/lora.h (without prefix).
  ShardSet<T>& factors() { return factors_; }

  /// W0 becomes what the parameters are now; B is zero and A random (of deviation in^-1/2, so that A x is
  /// about as large as x), the same for any mesh.
  void Start();
  /// W = W0 + scale B A.
  void Apply(ThreadPool& pool);
  /// From the gradient dW: dB = scale dW A^T, dA = scale B^T dW, in unrounded products. All ranks call it
  /// together.
  Status Backward(GemmContext& gemm);

 private:
  Lora(LoraPlan plan, ShardSet<T> factors, Buffer<T> base, ParameterSet<T>& params, const ProcessMesh& mesh,
       const LoraOptions& options);

  const LoraPlan plan_;
  ShardSet<T> factors_;
  Buffer<T> base_;  // W0 of each target, one after another
  ParameterSet<T>& params_;
  const ProcessMesh& mesh_;
  const LoraOptions options_;
  std::vector<GemmJob<T>> backward_;
};

}  // namespace hadal::train
