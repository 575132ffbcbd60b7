// What a model folder's config.json says: the architecture, named, never inferred.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// Bounds of a configuration that other code relies on: the router keeps a token's scores on its stack.
inline constexpr int64_t kMaxExperts = 4096;
inline constexpr int64_t kMaxExpertGroups = 256;

enum class Architecture { kDeepseekV2, kDeepseekV3 };

/// How router logits become scores.
enum class Scoring { kSigmoid, kSoftmax };

/// How experts are chosen from scores (the config's topk_method).
enum class TopkMethod {
  kGreedy,              // the best of all; n_group and topk_group stay 1
  kGroupLimitedGreedy,  // V2: groups ranked by their best score
  kNoauxTc,             // V3: scores + bias; groups ranked by the sum of their two best
};

/// Rotary embedding; YaRN stretches it beyond the context it was trained at (arXiv 2309.00071).
struct RopeConfig {
  double theta = 10000;
  bool yarn = false;
  double factor = 1;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
  int64_t original_max_position_embeddings = 4096;

  bool operator==(const RopeConfig&) const = default;
};

/// How the folder's weights are stored, beyond their dtype.
struct QuantizationConfig {
  enum class Method {
    kNone,
    kFp8,                // weight F8_E4M3 + weight_scale_inv per block
    kCompressedTensors,  // weight_packed + weight_scale + weight_shape ("pack-quantized")
  };
  Method method = Method::kNone;
  int64_t block_rows = 128, block_cols = 128;  // kFp8
  bool ue8m0_scales = false;  // kFp8: scale_fmt "ue8m0": activation scales are powers of two too
  int bits = 0;                                // kCompressedTensors: 4 or 8
  int64_t group_size = 0;                      // kCompressedTensors: values along a row that share a scale

  bool operator==(const QuantizationConfig&) const = default;
};

/// A model of the DeepSeek-V2/V3 family. Fields carry config.json's names.
struct ModelConfig {
  Architecture architecture = Architecture::kDeepseekV3;
  std::string model_type;  // as written: "deepseek_v3", "kimi_k2", …

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_nextn_predict_layers = 0;  // MTP layers, stored after the last layer
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;

  // Multi-head latent attention.
  int64_t num_attention_heads = 0;
  int64_t q_lora_rank = 0;  // 0: the query comes straight from the hidden state
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  RopeConfig rope;

  // Feed-forward.
  int64_t intermediate_size = 0;  // of the dense layers
  int64_t first_k_dense_replace = 0;
  int64_t moe_layer_freq = 1;
  int64_t moe_intermediate_size = 0;
  int64_t n_routed_experts = 0;  // 0: every layer is dense
  int64_t n_shared_experts = 0;
  int64_t num_experts_per_tok = 0;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  Scoring scoring_func = Scoring::kSigmoid;
  TopkMethod topk_method = TopkMethod::kNoauxTc;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1;
  /// Tokens an expert takes in one step of capacity-limited training; 0: no limit, no token dropped.
  int64_t expert_capacity = 0;

  int64_t bos_token_id = -1;  // -1: none
  std::vector<int64_t> eos_token_ids;

  QuantizationConfig quantization;

  bool IsMoeLayer(int64_t layer) const {
    return n_routed_experts > 0 && layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
  }
  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// Width of a cached token: [c_kv | k_rope].
  int64_t latent_dim() const { return kv_lora_rank + qk_rope_head_dim; }
  /// (n + r)^-1/2 * m^2, m = 0.1 * mscale_all_dim * ln(factor) + 1 under YaRN.
  double SoftmaxScale() const;

  bool operator==(const ModelConfig&) const = default;
};

/// Parses and checks the text of a config.json; `name` is what errors call it.
/// kInvalidArgument: a key is missing, of the wrong type, out of range, or does not fit another (with the
/// arithmetic). kUnsupported: an architecture or option that hadal does not have, by name.
Result<ModelConfig> ParseConfig(std::string_view json, std::string_view name);

/// What is allowed and probably not meant, one sentence each; empty for every published model.
std::vector<std::string> ConfigWarnings(const ModelConfig& config);

/// kInvalidArgument if the routed experts do not divide evenly over `ranks` (with the arithmetic).
Status CheckExpertSplit(const ModelConfig& config, int64_t ranks);

/// ParseConfig of dir/config.json, with the end-of-sequence ids of dir/generation_config.json added if it is
/// there.
Result<ModelConfig> LoadConfig(const Path& dir);

}  // namespace hadal
