#include "model/config_keys.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace hadal {
namespace {

constexpr std::string_view kRead[] = {
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_nextn_predict_layers",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "num_attention_heads",
    "num_key_value_heads",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "qk_head_dim",
    "v_head_dim",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rope_interleave",
    "attention_bias",
    "mlp_bias",
    "hidden_act",
    "sliding_window",
    "use_sliding_window",
    "intermediate_size",
    "first_k_dense_replace",
    "moe_layer_freq",
    "moe_intermediate_size",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "n_group",
    "topk_group",
    "scoring_func",
    "topk_method",
    "norm_topk_prob",
    "routed_scaling_factor",
    "bos_token_id",
    "eos_token_id",
    "quantization_config",
    // Other names of the same things.
    "num_experts",
    "num_local_experts",
    "top_k_gate",
    "expert_capacity",
};

constexpr std::string_view kIgnored[] = {
    // Bookkeeping of the file and of the library that wrote it.
    "_name_or_path",
    "_commit_hash",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_experts_implementation",
    "_attn_implementation_internal",
    "attn_implementation",
    "architectures",
    "auto_map",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "transformers_weights",
    "name_or_path",
    "model_name",
    "_name",
    "use_cache",
    "use_return_dict",
    "return_dict",
    "return_dict_in_generate",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "is_encoder_decoder",
    "is_decoder",
    "add_cross_attention",
    "cross_attention_hidden_size",
    "tie_encoder_decoder",
    "pruned_heads",
    "chunk_size_feed_forward",
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    "tokenizer_class",
    "prefix",
    "custom_pipelines",
    "for_fine_tuning",
    "base_model_tp_plan",
    "base_model_pp_plan",
    "base_model_ep_plan",
    "unsloth_fixed",
    "unsloth_version",
    "ms_config",
    "pad_token_id",
    "sep_token_id",
    "decoder_start_token_id",
    "im_end_id",
    "layer_types",
    "mlp_layer_types",
    // What the pair (qk_nope_head_dim, qk_rope_head_dim) already says; the library writes head_dim as either.
    "head_dim",
    // Training.
    "attention_dropout",
    "hidden_dropout",
    "embd_pdrop",
    "resid_pdrop",
    "aux_loss_alpha",
    "router_aux_loss_coef",
    "router_z_loss_coef",
    "seq_aux",
    "initializer_range",
    "initializer_cutoff_factor",
    "ep_size",
    "pretraining_tp",
    "router_jitter_noise",
    "moe_aux_loss_coeff",
    "moe_router_bias_update_rate",
    "bias_update_speed",
    "use_flash_attn",
    "use_flash_attention",
    "router_dtype",
    "gradient_checkpointing",
    "z_loss_coeff",
    "aux_loss_free_bias",
    // Defaults of generation that old versions of the library copied here.
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "remove_invalid_values",
    "repetition_penalty",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
};

/// Levenshtein's distance, in bytes.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

bool Holds(std::span<const std::string_view> words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

std::string_view NearestWord(std::string_view word, std::span<const std::string_view> candidates) {
  // A name beyond this is nobody's typing error, and would cost its length in time.
  word = word.substr(0, 64);
  std::string_view nearest;
  size_t least = SIZE_MAX;
  for (std::string_view candidate : candidates) {
    if (const size_t distance = EditDistance(word, candidate); distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

Status CheckKeys(const JsonObject& object, std::span<const std::string_view> read,
                 std::span<const std::string_view> ignored) {
  for (std::string_view key : object.Keys()) {
    if (Holds(read, key) || Holds(ignored, key)) continue;
    return InvalidArgument(
        "{}: unknown key '{}'; the nearest known key is '{}'. If it does not change what the "
        "model computes, remove it",
        object.where(), key.substr(0, 64), NearestWord(key, read));
  }
  return {};
}

std::span<const std::string_view> ReadConfigKeys() { return kRead; }
std::span<const std::string_view> IgnoredConfigKeys() { return kIgnored; }

}  // namespace hadal
