#include "model/config.h"

#include <algorithm>
#include <optional>

#include "model/config_check.h"
#include "model/config_keys.h"
#include "model/config_parts.h"
#include "model/json_object.h"

namespace hadal {
namespace {

struct IntKey {
  std::string_view key;
  int64_t ModelConfig::*field;
  int64_t min, max;
};

constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxHeadWidth = int64_t{1} << 14;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 31;

constexpr IntKey kRequired[] = {
    {"vocab_size", &ModelConfig::vocab_size, 1, kMaxVocabulary},
    {"hidden_size", &ModelConfig::hidden_size, 1, kMaxWidth},
    {"num_hidden_layers", &ModelConfig::num_hidden_layers, 1, kMaxLayers},
    {"num_attention_heads", &ModelConfig::num_attention_heads, 1, kMaxHeadWidth},
    {"kv_lora_rank", &ModelConfig::kv_lora_rank, 1, kMaxWidth},
    {"qk_nope_head_dim", &ModelConfig::qk_nope_head_dim, 1, kMaxHeadWidth},
    {"qk_rope_head_dim", &ModelConfig::qk_rope_head_dim, 2, kMaxHeadWidth},
    {"v_head_dim", &ModelConfig::v_head_dim, 1, kMaxHeadWidth},
    {"intermediate_size", &ModelConfig::intermediate_size, 1, kMaxWidth},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings, 1, kMaxContext},
};

/// Required as well where the model has routed experts.
constexpr IntKey kRequiredOfExperts[] = {
    {"moe_intermediate_size", &ModelConfig::moe_intermediate_size, 1, kMaxWidth},
    {"num_experts_per_tok", &ModelConfig::num_experts_per_tok, 1, kMaxExperts},
    {"first_k_dense_replace", &ModelConfig::first_k_dense_replace, 0, kMaxLayers},
};

/// Required where the routing method works with groups.
constexpr IntKey kRequiredOfGroups[] = {
    {"n_group", &ModelConfig::n_group, 1, kMaxExpertGroups},
    {"topk_group", &ModelConfig::topk_group, 1, kMaxExpertGroups},
};

/// Absent or null: the value that ModelConfig starts with.
constexpr IntKey kOptional[] = {
    {"q_lora_rank", &ModelConfig::q_lora_rank, 1, kMaxWidth},
    {"num_nextn_predict_layers", &ModelConfig::num_nextn_predict_layers, 0, 64},
    {"moe_layer_freq", &ModelConfig::moe_layer_freq, 1, kMaxLayers},
    {"n_shared_experts", &ModelConfig::n_shared_experts, 0, 1024},
    {"expert_capacity", &ModelConfig::expert_capacity, 0, kMaxContext},
    {"bos_token_id", &ModelConfig::bos_token_id, 0, kMaxVocabulary},
};

/// Other names under which a key may stand.
struct Alias {
  std::string_view name, key;
};
constexpr Alias kAliases[] = {
    {"num_experts", "n_routed_experts"},
    {"num_local_experts", "n_routed_experts"},
    {"top_k_gate", "num_experts_per_tok"},
};

/// The name under which `key` stands in `json`: itself or an alias; `key` if none does.
/// kInvalidArgument if two of them stand there with different values.
Result<std::string_view> NameInUse(const JsonObject& json, std::string_view key) {
  std::string_view used = json.Has(key) ? key : std::string_view();
  for (const Alias& alias : kAliases) {
    if (alias.key != key || !json.Has(alias.name)) continue;
    if (used.empty()) {
      used = alias.name;
    } else if (json.Written(used) != json.Written(alias.name)) {
      return InvalidArgument("{}: {} is {} and {}, another name of it, is {}; remove one", json.where(), used,
                             json.Written(used), alias.name, json.Written(alias.name));
    }
  }
  return used.empty() ? key : used;
}

Status ReadInt(const JsonObject& json, const IntKey& entry, ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string_view name, NameInUse(json, entry.key));
  ASSIGN_OR_RETURN(config.*entry.field, json.Int(name, entry.min, entry.max));
  return {};
}

void CollectMissing(const JsonObject& json, std::span<const IntKey> entries,
                    std::vector<std::string_view>& missing) {
  for (const IntKey& entry : entries) {
    const auto name = NameInUse(json, entry.key);
    if (name && !json.Has(*name)) missing.push_back(entry.key);
  }
}

/// What a mixture of experts without latent attention comes to, in words; empty if `json` does not give its
/// sizes. Such templates name DeepSeek-V3 and describe a GShard-style model (arXiv 2006.16668), many times
/// its size.
std::string DescribeWithoutLatentAttention(const JsonObject& json) {
  const auto layers = json.Int("num_hidden_layers", 1, kMaxLayers);
  const auto hidden = json.Int("hidden_size", 1, kMaxWidth);
  const auto width = json.Int("intermediate_size", 1, kMaxWidth);
  const auto vocabulary = json.Int("vocab_size", 1, kMaxVocabulary);
  const auto experts_name = NameInUse(json, "n_routed_experts"),
             top_name = NameInUse(json, "num_experts_per_tok");
  if (!layers || !hidden || !width || !vocabulary || !experts_name || !top_name) return "";
  const auto experts = json.Int(*experts_name, 1, kMaxExperts), top = json.Int(*top_name, 1, kMaxExperts);
  if (!experts || !top) return "";
  const double attention = 4.0 * *hidden * *hidden, expert = 3.0 * *hidden * *width;
  const double embeddings = 2.0 * *vocabulary * *hidden;
  const double total = *layers * (attention + *experts * expert) + embeddings;
  const double active = *layers * (attention + *top * expert) + embeddings;
  return fmt::format(
      " With ordinary attention these sizes make {} layers x (4 x {}^2 + {} experts x 3 x {} x {}) + 2 x {} "
      "x {} = "
      "{:.1f} T parameters ({:.1f} B active), {:.1f} TB in BF16",
      *layers, *hidden, *experts, *hidden, *width, *vocabulary, *hidden, total / 1e12, active / 1e9,
      2 * total / 1e12);
}

/// One error that names every missing key, so that nobody finds them one by one.
Status CheckMissing(const JsonObject& json, bool experts) {
  std::vector<std::string_view> missing;
  CollectMissing(json, kRequired, missing);
  if (experts) CollectMissing(json, kRequiredOfExperts, missing);
  if (missing.empty()) return {};
  const std::string list = fmt::format("{}", fmt::join(missing, ", "));
  const bool no_latent = std::find(missing.begin(), missing.end(), "kv_lora_rank") != missing.end();
  if (!no_latent) return InvalidArgument("{}: missing {}; the architecture needs them", json.where(), list);
  return InvalidArgument(
      "{}: missing {}. Without them this is not the DeepSeek-V3 architecture, whose attention is latent (V3 "
      "itself: "
      "hidden_size 7168, 61 layers, 128 heads, q_lora_rank 1536, kv_lora_rank 512, 256 routed experts of "
      "width 2048, "
      "8 a token, 1 shared, 3 dense layers).{}",
      json.where(), list, DescribeWithoutLatentAttention(json));
}

/// Options that have one value in this family; any other would compute something else.
Status CheckFixed(const JsonObject& json, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string activation, json.TextOr("hidden_act", "silu"));
  if (activation != "silu")
    return Unsupported("{}: hidden_act '{}' is not supported; expected 'silu'", json.where(), activation);
  struct Fixed {
    std::string_view key;
    bool value;
  };
  for (const Fixed& fixed : {Fixed{"attention_bias", false},
                             {"mlp_bias", false},
                             {"use_sliding_window", false},
                             {"rope_interleave", true}}) {
    ASSIGN_OR_RETURN(const bool found, json.BoolOr(fixed.key, fixed.value));
    if (found != fixed.value)
      return Unsupported("{}: {} {} is not supported; expected {}", json.where(), fixed.key, found,
                         fixed.value);
  }
  if (json.Has("sliding_window"))
    return Unsupported("{}: sliding_window {} is not supported; expected null", json.where(),
                       json.Written("sliding_window"));
  const int64_t heads = config.num_attention_heads;
  ASSIGN_OR_RETURN(const int64_t kv_heads, json.IntOr("num_key_value_heads", heads, 1, kMaxHeadWidth));
  if (kv_heads != heads && kv_heads != 1)
    return InvalidArgument(
        "{}: num_key_value_heads is {}, expected num_attention_heads {} (or 1: latent attention "
        "caches one vector for all heads)",
        json.where(), kv_heads, heads);
  ASSIGN_OR_RETURN(const int64_t qk, json.IntOr("qk_head_dim", config.qk_head_dim(), 1, 2 * kMaxHeadWidth));
  if (qk != config.qk_head_dim())
    return InvalidArgument("{}: qk_head_dim is {}, expected qk_nope_head_dim {} + qk_rope_head_dim {} = {}",
                           json.where(), qk, config.qk_nope_head_dim, config.qk_rope_head_dim,
                           config.qk_head_dim());
  return {};
}

Result<Architecture> ReadArchitecture(const JsonObject& json) {
  ASSIGN_OR_RETURN(const std::string type, json.Text("model_type"));
  if (type == "deepseek_v3" || type == "kimi_k2") return Architecture::kDeepseekV3;
  if (type == "deepseek_v2") return Architecture::kDeepseekV2;
  return Unsupported("{}: model_type '{}' is not supported; expected deepseek_v3, kimi_k2 or deepseek_v2",
                     json.where(), type.substr(0, 64));
}

Status ReadRouting(const JsonObject& json, ModelConfig& config) {
  const bool v3 = config.architecture == Architecture::kDeepseekV3;
  ASSIGN_OR_RETURN(const std::string scoring, json.TextOr("scoring_func", v3 ? "sigmoid" : "softmax"));
  if (scoring != "sigmoid" && scoring != "softmax")
    return Unsupported("{}: scoring_func '{}' is not supported; expected 'sigmoid' or 'softmax'",
                       json.where(), scoring);
  config.scoring_func = scoring == "sigmoid" ? Scoring::kSigmoid : Scoring::kSoftmax;
  ASSIGN_OR_RETURN(const std::string method, json.TextOr("topk_method", v3 ? "noaux_tc" : "greedy"));
  if (method == "noaux_tc")
    config.topk_method = TopkMethod::kNoauxTc;
  else if (method == "group_limited_greedy")
    config.topk_method = TopkMethod::kGroupLimitedGreedy;
  else if (method == "greedy")
    config.topk_method = TopkMethod::kGreedy;
  else
    return Unsupported(
        "{}: topk_method '{}' is not supported; expected 'noaux_tc', 'greedy' or "
        "'group_limited_greedy'",
        json.where(), method);
  ASSIGN_OR_RETURN(config.norm_topk_prob, json.BoolOr("norm_topk_prob", v3));
  ASSIGN_OR_RETURN(config.routed_scaling_factor,
                   json.NumberOr("routed_scaling_factor", v3 ? 2.5 : 1.0, 1e-6, 1e6));
  for (const IntKey& entry : kRequiredOfExperts) RETURN_IF_ERROR(ReadInt(json, entry, config));
  // The greedy method ignores groups, so they stay at one.
  if (config.topk_method == TopkMethod::kGreedy) return {};
  for (const IntKey& entry : kRequiredOfGroups) RETURN_IF_ERROR(ReadInt(json, entry, config));
  return {};
}

Result<ModelConfig> ReadFields(const JsonObject& json) {
  ModelConfig config;
  ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(json));
  ASSIGN_OR_RETURN(config.model_type, json.Text("model_type"));
  RETURN_IF_ERROR(CheckKeys(json, ReadConfigKeys(), IgnoredConfigKeys()));
  ASSIGN_OR_RETURN(const std::string_view experts_name, NameInUse(json, "n_routed_experts"));
  ASSIGN_OR_RETURN(config.n_routed_experts, json.IntOr(experts_name, 0, 0, kMaxExperts));
  RETURN_IF_ERROR(CheckMissing(json, config.n_routed_experts > 0));
  for (const IntKey& entry : kRequired) RETURN_IF_ERROR(ReadInt(json, entry, config));
  for (const IntKey& entry : kOptional) {
    if (json.Has(entry.key)) RETURN_IF_ERROR(ReadInt(json, entry, config));
  }
  if (config.n_routed_experts > 0) RETURN_IF_ERROR(ReadRouting(json, config));
  ASSIGN_OR_RETURN(config.rms_norm_eps, json.NumberOr("rms_norm_eps", config.rms_norm_eps, 0, 1));
  ASSIGN_OR_RETURN(config.tie_word_embeddings, json.BoolOr("tie_word_embeddings", false));
  ASSIGN_OR_RETURN(config.eos_token_ids, json.Ints("eos_token_id", 0, kMaxVocabulary, 64));
  ASSIGN_OR_RETURN(config.rope, ParseRope(json));
  if (json.Has("quantization_config")) {
    ASSIGN_OR_RETURN(const JsonObject quantization, json.Object("quantization_config"));
    ASSIGN_OR_RETURN(config.quantization, ParseQuantization(quantization));
  }
  RETURN_IF_ERROR(CheckFixed(json, config));
  return config;
}

/// Chat models may stop at more tokens than config.json says; generation_config.json lists them all.
Status AddGenerationEos(const Path& path, ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, size_t{1} << 20));
  ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(text, path.string()));
  ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                   document.root().Ints("eos_token_id", 0, config.vocab_size - 1, 64));
  for (int64_t id : ids) {
    auto& known = config.eos_token_ids;
    if (std::find(known.begin(), known.end(), id) == known.end()) known.push_back(id);
  }
  return {};
}

}  // namespace

Result<ModelConfig> ParseConfig(std::string_view json, std::string_view name) {
  ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(json, name));
  ASSIGN_OR_RETURN(ModelConfig config, ReadFields(document.root()));
  RETURN_IF_ERROR(CheckConfig(config, name));
  return config;
}

Result<ModelConfig> LoadConfig(const Path& dir) {
  const Path path = dir / "config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, size_t{16} << 20));
  ASSIGN_OR_RETURN(ModelConfig config, ParseConfig(text, path.string()));
  const Path generation = dir / "generation_config.json";
  std::error_code ignored;
  if (std::filesystem::exists(generation, ignored)) RETURN_IF_ERROR(AddGenerationEos(generation, config));
  return config;
}

}  // namespace hadal
