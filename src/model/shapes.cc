#include "model/shapes.h"

#include <algorithm>

#include "model/config_keys.h"
#include "model/config_writer.h"

namespace hadal {
namespace {

constexpr std::string_view kNames[] = {"deepseek-v3", "deepseek-v2-lite", "moonlight-16b-a3b",
                                       "kimi-k2",     "v3-small",         "v3-tiny"};

/// YaRN as V3 has it: forty times the context of pre-training.
RopeConfig YarnRope(int64_t original, double mscale) {
  RopeConfig rope;
  rope.yarn = true;
  rope.factor = 40;
  rope.mscale = rope.mscale_all_dim = mscale;
  rope.original_max_position_embeddings = original;
  return rope;
}

ModelConfig DeepseekV3() {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.vocab_size = 129280;
  c.hidden_size = 7168;
  c.num_hidden_layers = 61;
  c.num_nextn_predict_layers = 1;
  c.max_position_embeddings = 163840;
  c.num_attention_heads = 128;
  c.q_lora_rank = 1536;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  c.rope = YarnRope(4096, 1);
  c.intermediate_size = 18432;
  c.first_k_dense_replace = 3;
  c.moe_intermediate_size = 2048;
  c.n_routed_experts = 256;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 8;
  c.n_group = 8;
  c.topk_group = 4;
  c.routed_scaling_factor = 2.5;
  c.bos_token_id = 0;
  c.eos_token_ids = {1};
  return c;
}

ModelConfig KimiK2() {
  ModelConfig c = DeepseekV3();
  c.model_type = "kimi_k2";
  c.vocab_size = 163840;
  c.num_nextn_predict_layers = 0;
  c.max_position_embeddings = 131072;
  c.num_attention_heads = 64;
  c.rope.theta = 50000;
  c.rope.factor = 32;
  c.rope.beta_fast = 1;
  c.first_k_dense_replace = 1;
  c.n_routed_experts = 384;
  c.n_group = c.topk_group = 1;
  c.routed_scaling_factor = 2.827;
  c.bos_token_id = 163584;
  c.eos_token_ids = {163585};
  return c;
}

ModelConfig Moonlight() {
  ModelConfig c = DeepseekV3();
  c.vocab_size = 163840;
  c.hidden_size = 2048;
  c.num_hidden_layers = 27;
  c.num_nextn_predict_layers = 0;
  c.max_position_embeddings = 8192;
  c.rms_norm_eps = 1e-5;
  c.num_attention_heads = 16;
  c.q_lora_rank = 0;
  c.rope = RopeConfig();
  c.rope.theta = 50000;
  c.intermediate_size = 11264;
  c.first_k_dense_replace = 1;
  c.moe_intermediate_size = 1408;
  c.n_routed_experts = 64;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 6;
  c.n_group = c.topk_group = 1;
  c.routed_scaling_factor = 2.446;
  c.bos_token_id = 163584;
  c.eos_token_ids = {163585};
  return c;
}

ModelConfig DeepseekV2Lite() {
  ModelConfig c = Moonlight();
  c.architecture = Architecture::kDeepseekV2;
  c.model_type = "deepseek_v2";
  c.vocab_size = 102400;
  c.max_position_embeddings = 163840;
  c.rms_norm_eps = 1e-6;
  c.rope = YarnRope(4096, 0.707);
  c.intermediate_size = 10944;
  c.scoring_func = Scoring::kSoftmax;
  c.topk_method = TopkMethod::kGreedy;
  c.norm_topk_prob = false;
  c.routed_scaling_factor = 1;
  c.bos_token_id = 100000;
  c.eos_token_ids = {100001};
  return c;
}

/// V3 in small, for measuring on a desk: 0.42 B parameters, 124 M of them active.
ModelConfig V3Small() {
  ModelConfig c = DeepseekV3();
  c.vocab_size = 32768;
  c.hidden_size = 1024;
  c.num_hidden_layers = 8;
  c.num_nextn_predict_layers = 0;
  c.num_attention_heads = 16;
  c.q_lora_rank = 384;
  c.kv_lora_rank = 256;
  c.qk_nope_head_dim = 64;
  c.qk_rope_head_dim = 32;
  c.v_head_dim = 64;
  c.intermediate_size = 4096;
  c.first_k_dense_replace = 1;
  c.moe_intermediate_size = 512;
  c.n_routed_experts = 32;
  c.num_experts_per_tok = 4;
  c.n_group = 4;
  c.topk_group = 2;
  return c;
}

/// Every part of V3, prediction layer included, in a few megabytes; every row a multiple of 32, so that it
/// packs.
ModelConfig V3Tiny() {
  ModelConfig c = V3Small();
  c.vocab_size = 512;
  c.hidden_size = 256;
  c.num_hidden_layers = 4;
  c.num_nextn_predict_layers = 1;
  c.max_position_embeddings = 2560;
  c.num_attention_heads = 8;
  c.q_lora_rank = 96;
  c.kv_lora_rank = 64;
  c.qk_nope_head_dim = 32;
  c.qk_rope_head_dim = 16;
  c.v_head_dim = 32;
  c.rope = YarnRope(64, 1);
  c.intermediate_size = 512;
  c.moe_intermediate_size = 32;
  c.n_routed_experts = 16;
  return c;
}

}  // namespace

std::span<const std::string_view> ShapeNames() { return kNames; }

Result<ModelConfig> NamedShape(std::string_view name) {
  if (name == "deepseek-v3") return DeepseekV3();
  if (name == "deepseek-v2-lite") return DeepseekV2Lite();
  if (name == "moonlight-16b-a3b") return Moonlight();
  if (name == "kimi-k2") return KimiK2();
  if (name == "v3-small") return V3Small();
  if (name == "v3-tiny") return V3Tiny();
  return NotFound("no shape '{}'; the nearest is '{}', and there are {}", name.substr(0, 64),
                  NearestWord(name, kNames), fmt::join(kNames, ", "));
}

Result<QuantizationConfig> QuantizationOfFormat(std::string_view format) {
  QuantizationConfig quantization;
  if (format == "bf16") return quantization;
  if (format == "fp8") {
    quantization.method = QuantizationConfig::Method::kFp8;
    return quantization;
  }
  if (format != "int8" && format != "int4")
    return InvalidArgument("weight format '{}'; expected bf16, fp8, int8 or int4", format.substr(0, 64));
  quantization.method = QuantizationConfig::Method::kCompressedTensors;
  quantization.bits = format == "int8" ? 8 : 4;
  quantization.group_size = 32;
  return quantization;
}

Result<std::string> ShapeConfigJson(std::string_view name, std::optional<int64_t> layers,
                                    std::string_view format) {
  ASSIGN_OR_RETURN(ModelConfig config, NamedShape(name));
  ASSIGN_OR_RETURN(config.quantization, QuantizationOfFormat(format));
  if (layers && (*layers < 1 || *layers > config.num_hidden_layers))
    return InvalidArgument("{} layers of {}; expected 1 to {}", *layers, name, config.num_hidden_layers);
  if (layers && *layers < config.num_hidden_layers) {
    config.num_hidden_layers = *layers;
    config.num_nextn_predict_layers = 0;
    config.first_k_dense_replace = std::min(config.first_k_dense_replace, *layers);
  }
  return ConfigJson(config);
}

}  // namespace hadal
