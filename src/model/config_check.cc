#include "model/config_check.h"

#include <cmath>

#include "model/rope.h"

namespace hadal {
namespace {

/// Far beyond any model, far below overflow of 64-bit byte counts.
constexpr double kMaxParameters = 1e15;
/// Bounds the number of tensors, and with it the memory of every table of them.
constexpr int64_t kMaxExpertsInAll = int64_t{1} << 20;

/// Parameters to within a few per mille, in floating point so that nothing can overflow.
double RoughParameters(const ModelConfig& c) {
  const double hidden = c.hidden_size, heads = c.num_attention_heads;
  const double attention = hidden * heads * (c.qk_head_dim() + c.v_head_dim) + hidden * c.latent_dim() +
                           double(c.kv_lora_rank) * heads * (c.qk_nope_head_dim + c.v_head_dim) +
                           double(c.q_lora_rank) * (hidden + heads * c.qk_head_dim());
  const double experts =
      double(c.n_routed_experts + c.n_shared_experts) * 3 * hidden * c.moe_intermediate_size;
  const double dense = 3 * hidden * c.intermediate_size;
  return (c.num_hidden_layers + c.num_nextn_predict_layers) * (attention + experts + dense) +
         2 * hidden * c.vocab_size;
}

Status CheckSize(const ModelConfig& c, std::string_view name) {
  const int64_t layers = c.num_hidden_layers + c.num_nextn_predict_layers;
  if (layers * c.n_routed_experts > kMaxExpertsInAll)
    return InvalidArgument("{}: {} layers x {} routed experts = {} experts, expected at most {}", name,
                           layers, c.n_routed_experts, layers * c.n_routed_experts, kMaxExpertsInAll);
  if (const double parameters = RoughParameters(c); parameters > kMaxParameters)
    return InvalidArgument("{}: the sizes multiply to {:.3g} parameters, expected at most {:.3g}", name,
                           parameters, kMaxParameters);
  return {};
}

Status CheckAttention(const ModelConfig& c, std::string_view name) {
  if (c.hidden_size % c.num_attention_heads != 0)
    return InvalidArgument("{}: num_attention_heads {} does not divide hidden_size {} (remainder {})", name,
                           c.num_attention_heads, c.hidden_size, c.hidden_size % c.num_attention_heads);
  if (c.qk_rope_head_dim % 2 != 0)
    return InvalidArgument("{}: qk_rope_head_dim is {}, expected an even number: rotation works on pairs",
                           name, c.qk_rope_head_dim);
  return {};
}

/// Groups, where the method uses them.
Status CheckGroups(const ModelConfig& c, std::string_view name) {
  if (c.n_routed_experts % c.n_group != 0)
    return InvalidArgument("{}: n_routed_experts {} is no multiple of n_group {} (remainder {})", name,
                           c.n_routed_experts, c.n_group, c.n_routed_experts % c.n_group);
  if (c.topk_group > c.n_group)
    return InvalidArgument("{}: topk_group {} exceeds n_group {}", name, c.topk_group, c.n_group);
  const int64_t per_group = c.n_routed_experts / c.n_group;
  if (c.topk_method == TopkMethod::kNoauxTc && c.n_group > 1 && per_group < 2)
    return InvalidArgument(
        "{}: {} experts in {} groups leave {} a group; noaux_tc ranks a group by the sum of its "
        "two best, so each needs at least 2",
        name, c.n_routed_experts, c.n_group, per_group);
  if (c.num_experts_per_tok > c.topk_group * per_group)
    return InvalidArgument(
        "{}: num_experts_per_tok {} exceeds the {} experts a token may choose from ({} groups of "
        "{})",
        name, c.num_experts_per_tok, c.topk_group * per_group, c.topk_group, per_group);
  return {};
}

Status CheckRouting(const ModelConfig& c, std::string_view name) {
  const bool v3 = c.architecture == Architecture::kDeepseekV3;
  const bool sigmoid = c.scoring_func == Scoring::kSigmoid, noaux = c.topk_method == TopkMethod::kNoauxTc;
  if (v3 && !(sigmoid && noaux))
    return Unsupported(
        "{}: {} routes with scoring_func 'sigmoid' and topk_method 'noaux_tc'; others are not "
        "supported",
        name, c.model_type);
  if (!v3 && (sigmoid || noaux))
    return Unsupported(
        "{}: {} routes with scoring_func 'softmax' and topk_method 'greedy' or 'group_limited_greedy'; "
        "others are not supported",
        name, c.model_type);
  if (c.num_experts_per_tok > c.n_routed_experts)
    return InvalidArgument("{}: num_experts_per_tok {} exceeds n_routed_experts {}", name,
                           c.num_experts_per_tok, c.n_routed_experts);
  return CheckGroups(c, name);
}

Status CheckTokens(const ModelConfig& c, std::string_view name) {
  if (c.bos_token_id >= c.vocab_size)
    return InvalidArgument("{}: bos_token_id {} is outside the vocabulary of {}", name, c.bos_token_id,
                           c.vocab_size);
  for (int64_t id : c.eos_token_ids) {
    if (id >= c.vocab_size)
      return InvalidArgument("{}: eos_token_id {} is outside the vocabulary of {}", name, id, c.vocab_size);
  }
  return {};
}

}  // namespace

double ModelConfig::SoftmaxScale() const {
  const double mscale = rope.yarn ? YarnMscale(rope.factor, rope.mscale_all_dim) : 1.0;
  return mscale * mscale / std::sqrt(static_cast<double>(qk_head_dim()));
}

Status CheckConfig(const ModelConfig& config, std::string_view name) {
  RETURN_IF_ERROR(CheckSize(config, name));
  RETURN_IF_ERROR(CheckAttention(config, name));
  if (config.first_k_dense_replace > config.num_hidden_layers)
    return InvalidArgument("{}: first_k_dense_replace {} exceeds num_hidden_layers {}", name,
                           config.first_k_dense_replace, config.num_hidden_layers);
  if (config.n_routed_experts > 0) RETURN_IF_ERROR(CheckRouting(config, name));
  return CheckTokens(config, name);
}

std::vector<std::string> ConfigWarnings(const ModelConfig& c) {
  std::vector<std::string> warnings;
  if (c.hidden_size % 512 != 0)
    warnings.push_back(
        fmt::format("hidden_size {} is no multiple of 512 ({} x 512 + {}): kernels and tensor "
                    "parallelism work best on multiples",
                    c.hidden_size, c.hidden_size / 512, c.hidden_size % 512));
  const double reach = c.rope.factor * static_cast<double>(c.rope.original_max_position_embeddings);
  if (c.rope.yarn && static_cast<double>(c.max_position_embeddings) > reach)
    warnings.push_back(fmt::format(
        "max_position_embeddings {} is more than YaRN's factor {} x {} = {:.0f} positions",
        c.max_position_embeddings, c.rope.factor, c.rope.original_max_position_embeddings, reach));
  if (c.expert_capacity > 0 && c.n_routed_experts > 0) {
    const int64_t slots = c.n_routed_experts * c.expert_capacity;
    warnings.push_back(
        fmt::format("expert_capacity {}: {} experts x {} = {} places, {} to a token, so a step of more "
                    "than {} tokens drops some even when the load is balanced",
                    c.expert_capacity, c.n_routed_experts, c.expert_capacity, slots, c.num_experts_per_tok,
                    slots / c.num_experts_per_tok));
  }
  return warnings;
}

Status CheckExpertSplit(const ModelConfig& config, int64_t ranks) {
  if (ranks < 1) return InvalidArgument("{} ranks to hold the experts, expected at least 1", ranks);
  if (const int64_t rest = config.n_routed_experts % ranks; rest != 0)
    return InvalidArgument(
        "{} routed experts do not divide over {} ranks: {} each leaves {} over; use a number of "
        "ranks that divides {}",
        config.n_routed_experts, ranks, config.n_routed_experts / ranks, rest, config.n_routed_experts);
  return {};
}

}  // namespace hadal
