// For tests: model folders whose sizes divide nothing, with seeded weights in any plain or FP8 format.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "model/config_writer.h"
#include "model/golden_util.h"
#include "model/safetensors_writer.h"
#include "model/tensor_encoder.h"
#include "model/tensor_names.h"

namespace hadal {

inline ModelConfig OddConfig(int64_t q_lora, TopkMethod method) {
  ModelConfig c;
  c.architecture = method == TopkMethod::kNoauxTc ? Architecture::kDeepseekV3 : Architecture::kDeepseekV2;
  c.model_type = method == TopkMethod::kNoauxTc ? "deepseek_v3" : "deepseek_v2";
  c.vocab_size = 101;
  c.hidden_size = 93;
  c.num_hidden_layers = 3;
  c.max_position_embeddings = 500;
  c.num_attention_heads = 3;
  c.q_lora_rank = q_lora;
  c.kv_lora_rank = 37;
  c.qk_nope_head_dim = 13;
  c.qk_rope_head_dim = 6;
  c.v_head_dim = 11;
  c.intermediate_size = 150;
  c.first_k_dense_replace = 1;
  c.moe_intermediate_size = 19;
  c.n_routed_experts = 12;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 3;
  c.n_group = method == TopkMethod::kGreedy ? 1 : 3;
  c.topk_group = method == TopkMethod::kGreedy ? 1 : 2;
  c.topk_method = method;
  c.scoring_func = method == TopkMethod::kNoauxTc ? Scoring::kSigmoid : Scoring::kSoftmax;
  c.norm_topk_prob = method == TopkMethod::kNoauxTc;
  c.routed_scaling_factor = 1.7;
  c.eos_token_ids = {1};
  return c;
}

inline std::vector<float> OddWeights(const TensorEncoder& e, std::mt19937& random) {
  std::vector<float> x(static_cast<size_t>(e.rows() * e.cols()));
  const bool norm = e.name().find("norm") != std::string::npos;
  const bool router = e.name().find("mlp.gate.weight") != std::string::npos;
  // Routers spread their scores, so that no two kernels choose differently.
  const float scale = norm ? 0.1f : router ? 1.0f : 1.0f / std::sqrt(static_cast<float>(e.cols()));
  std::normal_distribution<float> normal;
  for (float& v : x) v = normal(random) * scale + (norm ? 1.0f : 0.0f);
  return x;
}

/// Writes `config` with seeded weights: Linears as `format`, the rest as its kind asks.
inline void WriteFolder(const Path& folder, ModelConfig config, WeightFormat format) {
  using golden::Must;
  if (format == WeightFormat::kFp8) config.quantization.method = QuantizationConfig::Method::kFp8;
  std::filesystem::create_directories(folder);
  Must(WriteFileAtomic(folder / "config.json", ConfigJson(config)));
  std::vector<TensorEncoder> encoders;
  std::vector<TensorDeclaration> declarations;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const WeightFormat mine = spec.kind == TensorKind::kRouterBias ? WeightFormat::kF32
                              : spec.kind == TensorKind::kLinear   ? format
                              : format == WeightFormat::kFp8       ? WeightFormat::kBF16
                                                                   : format;
    encoders.push_back(Must(TensorEncoder::Create(spec.name, spec.shape, mine, 32)));
    for (const TensorDeclaration& part : encoders.back().Declarations()) declarations.push_back(part);
  }
  std::mt19937 random(5);
  auto writer = Must(SafetensorsWriter::Create(folder / "model.safetensors", declarations));
  for (const TensorEncoder& e : encoders) {
    const std::vector<float> x = OddWeights(e, random);
    std::vector<std::byte> values(static_cast<size_t>(e.ValueBytes(e.rows())));
    std::vector<std::byte> scales(static_cast<size_t>(e.ScaleBytes(e.rows())));
    e.Encode(x.data(), e.rows(), values.data(), scales.data());
    const std::vector<TensorDeclaration> parts = e.Declarations();
    Must(writer.Write(parts[0].name, values));
    if (parts.size() > 1) Must(writer.Write(parts[1].name, scales));
  }
  Must(writer.Finish());
}

}  // namespace hadal
