// Every tensor that a model folder must hold, by the published checkpoints' names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace hadal {

enum class TensorKind {
  kEmbedding,
  kHead,
  kNorm,
  kLinear,         // may be stored quantised
  kRouter,         // BF16 also where linears are quantised
  kRouterBias,     // e_score_correction_bias: F32
  kMtpProjection,  // eh_proj: BF16 also where linears are quantised
};

struct TensorSpec {
  std::string name;  // of the tensor with plain weights; a quantised one stands as name_scale_inv and so on
  std::vector<int64_t> shape;  // of the plain weights: [out, in], [vocab, hidden] or [width]
  TensorKind kind;
  /// A tensor with the same values, which may stand in if this one is absent: "" for all but the copies of
  /// embedding and head that a multi-token-prediction layer keeps.
  std::string copy_of;

  int64_t Elements() const;
};

/// The tensors of `config`'s folder, layer by layer; multi-token-prediction layers follow the last layer. A
/// model with tied embeddings has no lm_head.weight. Precondition: ParseConfig accepted the config, which
/// bounds their number.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

/// The tensors of one layer alone, in the same order; layers from num_hidden_layers on are prediction layers.
std::vector<TensorSpec> LayerTensors(const ModelConfig& config, int64_t layer);

/// "model.layers.3." — what every tensor of a layer begins with.
std::string LayerPrefix(int64_t layer);

/// Whether a folder may hold `name` although ExpectedTensors does not list it: tables that old versions of
/// the library saved, a head beside tied embeddings, a prediction layer that config.json does not announce.
bool IsToleratedTensor(const ModelConfig& config, std::string_view name);

}  // namespace hadal
