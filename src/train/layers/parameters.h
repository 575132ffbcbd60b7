// The parameters that one rank trains: which part of which tensor, and where it lies in memory.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/config.h"
#include "model/tensor_names.h"
#include "parallel/process_mesh.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace hadal::train {

/// A rank's part of one tensor of the model folder: rows [row, row + rows) and columns [col, col + cols) of the
/// tensor as a matrix (a norm is one row).
struct Shard {
  std::string name;
  TensorKind kind;
  int64_t full_rows = 0, full_cols = 0;
  int64_t row = 0, rows = 0, col = 0, cols = 0;
  bool expert = false;  // a routed expert's: reduced over the ranks that hold the same experts
  bool replicated = false;  // every tensor-parallel rank holds the same; sums over ranks count it once
  /// A second copy on the last stage of what the first stage has (the embedding, for prediction layers and tied
  /// heads); the gradients of both are added.
  bool copy = false;

  int64_t elements() const { return rows * cols; }
  bool whole() const { return rows == full_rows && cols == full_cols; }
};

/// [first, first + count) of `total` for part `index` of `parts`, as even as can be.
struct Part {
  int64_t first, count;
};
inline Part PartOf(int64_t total, int parts, int index) {
  const int64_t first = total * index / parts;
  return {first, total * (index + 1) / parts - first};
}

/// Layers of a stage: those of the model, split as evenly as can be (the later stages get the larger parts; the last
/// one also has the head).
Part StageLayers(const ModelConfig& config, const MeshShape& mesh, int stage);

/// All that `mesh`'s rank holds, dense parts first, then experts. Router biases are not among them: no gradient trains
/// them. kInvalidArgument, with the arithmetic: fewer heads than tensor shards, fewer layers than stages, experts that
/// do not divide.
Result<std::vector<Shard>> PlaceParameters(const ModelConfig& config, const ProcessMesh& mesh);

/// A parameter in memory: value and gradient, [rows, cols].
template <typename T>
struct Parameter {
  View<T> value, grad;
  View<const T> weight() const { return value; }
  /// Of a norm.
  const T* gain() const { return value.data; }
};

template <typename T>
struct AttentionParameters {
  std::optional<Parameter<T>> q_a, q_a_norm;  // absent where the query is not compressed
  Parameter<T> q_b;                           // or q_proj
  Parameter<T> kv_a, kv_a_norm, kv_b, o;
};

template <typename T>
struct NetworkParameters {
  Parameter<T> gate, up, down;
};

template <typename T>
struct MoeParameters {
  Parameter<T> router;
  T* bias = nullptr;  // [E], all experts; null where the model has none
  std::vector<NetworkParameters<T>> experts;  // the local ones
  // Their weights and gradients, as the grouped products take them.
  std::vector<View<const T>> gate, up, down;
  std::vector<View<T>> gate_grad, up_grad, down_grad;
  std::optional<NetworkParameters<T>> shared;
};

template <typename T>
struct LayerParameters {
  Parameter<T> attention_norm, network_norm;
  AttentionParameters<T> attention;
  std::optional<NetworkParameters<T>> dense;
  std::optional<MoeParameters<T>> moe;
};

template <typename T>
struct MtpParameters {
  Parameter<T> embedding_norm, hidden_norm, combine, head_norm;
  LayerParameters<T> layer;
};

/// A rank's parameters and gradients in two flat buffers, dense parts first; each of the two groups is padded with zeros
/// to a multiple of its data-parallel ranks, so that it can be cut into equal pieces.
template <typename T>
class ParameterSet {
 public:
  static Result<std::unique_ptr<ParameterSet>> Create(const ModelConfig& config, const ProcessMesh& mesh);

  const std::vector<Shard>& shards() const { return shards_; }
  /// Of shards()[i].
  const Parameter<T>& parameter(size_t i) const { return parameters_[i]; }

  struct Group {
    std::span<T> values, grads;
    Communicator* replicas;  // ranks that hold the same
  };
  Group dense() const;
  Group experts() const;
  void ZeroGrads();

  /// Router biases [E] of the MoE layers of this stage, by layer; layer ids as in tensor names.
  struct Bias {
    int64_t layer;
    std::vector<T> values;
  };
  std::vector<Bias>& biases() { return biases_; }
  const std::vector<Bias>& biases() const { return biases_; }

  // What this stage has.
  std::optional<Parameter<T>> embedding;  // [vocabulary part, d]; on the last stage too where it is used there
  std::vector<LayerParameters<T>> layers;
  int64_t first_layer = 0;
  std::optional<Parameter<T>> final_norm, head;  // last stage; a tied head is the embedding
  std::optional<MtpParameters<T>> mtp;
  Part vocabulary;  // this shard's

 private:
  ParameterSet() = default;
  void Bind(const ModelConfig& config, const ProcessMesh& mesh);
  LayerParameters<T> BindLayer(const ModelConfig& config, int64_t layer);
  const Parameter<T>* Find(const std::string& name) const;
  const Parameter<T>& Get(const std::string& name) const;

  std::vector<Shard> shards_;
  std::vector<Parameter<T>> parameters_;
  std::unordered_map<std::string, size_t> index_;  // by name
  Buffer<T> values_, grads_;
  int64_t dense_elements_ = 0, expert_elements_ = 0;
  Communicator* dense_replicas_ = nullptr;
  Communicator* expert_replicas_ = nullptr;
  std::vector<Bias> biases_;
};

}  // namespace hadal::train
