#include "model/config_writer.h"

#include <nlohmann/json.hpp>

#include "model/json_object.h"

namespace hadal {
namespace {

using Json = nlohmann::ordered_json;

Json RopeScalingJson(const RopeConfig& rope) {
  if (!rope.yarn) return nullptr;
  return {{"type", "yarn"},
          {"factor", rope.factor},
          {"beta_fast", rope.beta_fast},
          {"beta_slow", rope.beta_slow},
          {"mscale", rope.mscale},
          {"mscale_all_dim", rope.mscale_all_dim},
          {"original_max_position_embeddings", rope.original_max_position_embeddings}};
}

/// compressed-tensors: one group for every linear. The router is no Linear there, but some readers take it
/// for one; eh_proj stays plain as in the published FP8 folders.
Json PackedJson(const QuantizationConfig& quantization) {
  const Json weights = {{"num_bits", quantization.bits},
                        {"type", "int"},
                        {"symmetric", true},
                        {"strategy", "group"},
                        {"group_size", quantization.group_size}};
  const Json group = {{"targets", Json::array({"Linear"})},
                      {"weights", weights},
                      {"input_activations", nullptr},
                      {"output_activations", nullptr}};
  return {
      {"quant_method", "compressed-tensors"},
      {"format", "pack-quantized"},
      {"quantization_status", "compressed"},
      {"config_groups", {{"group_0", group}}},
      {"kv_cache_scheme", nullptr},
      {"ignore", Json::array({"lm_head", "re:.*mlp\\.gate$", "re:.*eh_proj$", "re:.*shared_head\\.head$"})}};
}

Json Fp8Json(const QuantizationConfig& quantization) {
  Json fp8 = {{"quant_method", "fp8"},
              {"fmt", "e4m3"},
              {"activation_scheme", "dynamic"},
              {"weight_block_size", Json::array({quantization.block_rows, quantization.block_cols})}};
  if (quantization.ue8m0_scales) fp8["scale_fmt"] = "ue8m0";
  return fp8;
}

void SetQuantization(const QuantizationConfig& quantization, Json& json) {
  switch (quantization.method) {
    case QuantizationConfig::Method::kNone:
      json.erase("quantization_config");
      return;
    case QuantizationConfig::Method::kFp8:
      json["quantization_config"] = Fp8Json(quantization);
      return;
    case QuantizationConfig::Method::kCompressedTensors:
      json["quantization_config"] = PackedJson(quantization);
      return;
  }
}

const char* TopkMethodName(TopkMethod method) {
  switch (method) {
    case TopkMethod::kGreedy:
      return "greedy";
    case TopkMethod::kGroupLimitedGreedy:
      return "group_limited_greedy";
    case TopkMethod::kNoauxTc:
      return "noaux_tc";
  }
  return "";
}

void SetExperts(const ModelConfig& c, Json& json) {
  json["n_routed_experts"] = c.n_routed_experts;
  json["n_shared_experts"] = c.n_shared_experts;
  json["num_experts_per_tok"] = c.num_experts_per_tok;
  json["moe_intermediate_size"] = c.moe_intermediate_size;
  json["moe_layer_freq"] = c.moe_layer_freq;
  json["first_k_dense_replace"] = c.first_k_dense_replace;
  json["n_group"] = c.n_group;
  json["topk_group"] = c.topk_group;
  json["topk_method"] = TopkMethodName(c.topk_method);
  json["scoring_func"] = c.scoring_func == Scoring::kSigmoid ? "sigmoid" : "softmax";
  json["norm_topk_prob"] = c.norm_topk_prob;
  json["routed_scaling_factor"] = c.routed_scaling_factor;
  if (c.expert_capacity > 0) json["expert_capacity"] = c.expert_capacity;
}

Json WholeConfig(const ModelConfig& c) {
  const bool v3 = c.architecture == Architecture::kDeepseekV3;
  Json json;
  json["architectures"] = Json::array({v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"});
  json["model_type"] = c.model_type;
  json["torch_dtype"] = "bfloat16";
  json["vocab_size"] = c.vocab_size;
  json["hidden_size"] = c.hidden_size;
  json["intermediate_size"] = c.intermediate_size;
  json["num_hidden_layers"] = c.num_hidden_layers;
  json["num_nextn_predict_layers"] = c.num_nextn_predict_layers;
  json["max_position_embeddings"] = c.max_position_embeddings;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = c.rms_norm_eps;
  json["tie_word_embeddings"] = c.tie_word_embeddings;
  json["attention_bias"] = false;
  json["num_attention_heads"] = c.num_attention_heads;
  json["num_key_value_heads"] = c.num_attention_heads;
  json["q_lora_rank"] = c.q_lora_rank > 0 ? Json(c.q_lora_rank) : Json(nullptr);
  json["kv_lora_rank"] = c.kv_lora_rank;
  json["qk_nope_head_dim"] = c.qk_nope_head_dim;
  json["qk_rope_head_dim"] = c.qk_rope_head_dim;
  json["v_head_dim"] = c.v_head_dim;
  json["rope_theta"] = c.rope.theta;
  json["rope_scaling"] = RopeScalingJson(c.rope);
  if (c.n_routed_experts > 0) SetExperts(c, json);
  json["bos_token_id"] = c.bos_token_id >= 0 ? Json(c.bos_token_id) : Json(nullptr);
  json["eos_token_id"] = c.eos_token_ids.size() == 1 ? Json(c.eos_token_ids[0]) : Json(c.eos_token_ids);
  SetQuantization(c.quantization, json);
  return json;
}

/// Bytes that are no UTF-8 (in a model_type that a caller made up) become U+FFFD instead of an exception.
std::string Dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace

std::string ConfigJson(const ModelConfig& config) { return Dump(WholeConfig(config)); }

Result<std::string> ReplaceQuantization(std::string_view json, const QuantizationConfig& quantization) {
  // First through the strict reader: it bounds the nesting, on which writing recurses.
  ASSIGN_OR_RETURN(const JsonDocument checked, JsonDocument::Parse(json, "config.json"));
  Json parsed = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return InvalidArgument("config.json: not valid JSON");
  SetQuantization(quantization, parsed);
  return Dump(parsed);
}

}  // namespace hadal
