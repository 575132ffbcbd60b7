// The model's parameters on one rank: which parts it holds, and what they are to its layers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/config.h"
#include "train/layers/shard_set.h"

namespace hadal::train {

/// [first, first + count) of `total` for part `index` of `parts`, as even as can be.
struct Part {
  int64_t first, count;
};
inline Part PartOf(int64_t total, int parts, int index) {
  const int64_t first = total * index / parts;
  return {first, total * (index + 1) / parts - first};
}

/// Layers of a stage: those of the model, split as evenly as can be (the later stages get the larger parts;
/// the last one also has the head).
Part StageLayers(const ModelConfig& config, const MeshShape& mesh, int stage);

/// All that `mesh`'s rank holds, dense parts first, then experts. Router biases are not among them: no
/// gradient trains them. kInvalidArgument, with the arithmetic: fewer heads than tensor shards, fewer layers
/// than stages, experts that do not divide.
Result<std::vector<Shard>> PlaceParameters(const ModelConfig& config, const ProcessMesh& mesh);

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

/// A rank's shards of the model, by name and by use.
template <typename T>
class ParameterSet : public ShardSet<T> {
 public:
  static Result<std::unique_ptr<ParameterSet>> Create(const ModelConfig& config, const ProcessMesh& mesh);

  /// Router biases [E] of the MoE layers of this stage, by layer; layer ids as in tensor names.
  struct Bias {
    int64_t layer;
    std::vector<T> values;
  };
  std::vector<Bias>& biases() { return biases_; }
  const std::vector<Bias>& biases() const { return biases_; }

  // What this stage has.
  std::optional<Parameter<T>>
      embedding;  // [vocabulary part, d]; on the last stage too where it is used there
  std::vector<LayerParameters<T>> layers;
  int64_t first_layer = 0;
  std::optional<Parameter<T>> final_norm, head;  // last stage; a tied head is the embedding
  std::optional<MtpParameters<T>> mtp;
  Part vocabulary;  // this shard's

 private:
  explicit ParameterSet(ShardSet<T> shards) : ShardSet<T>(std::move(shards)) {}
  void Bind(const ModelConfig& config, const ProcessMesh& mesh);
  LayerParameters<T> BindLayer(const ModelConfig& config, int64_t layer);
  const Parameter<T>* Find(const std::string& name) const;
  const Parameter<T>& Get(const std::string& name) const;

  std::unordered_map<std::string, size_t> index_;  // of shards(), by name
  std::vector<Bias> biases_;
};

}  // namespace hadal::train
