#include "model/parameters.h"

#include "base/rounding.h"
#include "model/tensor_names.h"

namespace hadal {
namespace {

int64_t AttentionParameters(const ModelConfig& c) {
  const int64_t queries = c.num_attention_heads * c.qk_head_dim();
  const int64_t query =
      c.q_lora_rank > 0 ? c.q_lora_rank * (c.hidden_size + 1 + queries) : c.hidden_size * queries;
  const int64_t key_value = c.latent_dim() * c.hidden_size + c.kv_lora_rank +
                            c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank;
  return query + key_value + c.hidden_size * c.num_attention_heads * c.v_head_dim;
}

void AddStored(const TensorSpec& spec, const QuantizationConfig& quantization, StoredCounts& counts) {
  if (spec.kind == TensorKind::kRouterBias) {
    counts.f32 += spec.Elements();
    return;
  }
  if (spec.kind != TensorKind::kLinear || quantization.method == QuantizationConfig::Method::kNone) {
    counts.bf16 += spec.Elements();
    return;
  }
  const int64_t rows = spec.shape[0], columns = spec.shape[1];
  if (quantization.method == QuantizationConfig::Method::kFp8) {
    counts.f8 += rows * columns;
    counts.f32 += CeilDiv(rows, quantization.block_rows) * CeilDiv(columns, quantization.block_cols);
    return;
  }
  counts.i32 += rows * CeilDiv(columns, 32 / quantization.bits) + 2;  // weight_packed and weight_shape
  counts.bf16 += rows * CeilDiv(columns, quantization.group_size);    // weight_scale
}

}  // namespace

ParameterCounts CountParameters(const ModelConfig& c) {
  ParameterCounts n;
  n.attention = AttentionParameters(c);
  n.dense_network = 3 * c.hidden_size * c.intermediate_size;
  n.dense_layer = n.attention + n.dense_network + 2 * c.hidden_size;
  if (c.n_routed_experts > 0) {
    n.expert = 3 * c.hidden_size * c.moe_intermediate_size;
    n.shared_experts = c.n_shared_experts * n.expert;
    n.router = c.n_routed_experts * (c.hidden_size + (c.topk_method == TopkMethod::kNoauxTc ? 1 : 0));
    n.moe_layer =
        n.attention + c.n_routed_experts * n.expert + n.shared_experts + n.router + 2 * c.hidden_size;
  }
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
    ++(c.IsMoeLayer(layer) ? n.moe_layers : n.dense_layers);
  n.embedding = c.vocab_size * c.hidden_size;
  n.head = c.tie_word_embeddings ? 0 : n.embedding;
  n.routed_experts = n.moe_layers * c.n_routed_experts * n.expert;
  const int64_t layers = n.dense_layers * n.dense_layer + n.moe_layers * n.moe_layer;
  n.main = layers + n.embedding + n.head + c.hidden_size;
  for (int64_t i = 0; i < c.num_nextn_predict_layers; ++i) {
    const bool moe = c.IsMoeLayer(c.num_hidden_layers + i);
    n.mtp += (moe ? n.moe_layer : n.dense_layer) +
             c.hidden_size * (2 * c.hidden_size + 3);  // eh_proj, three norms
  }
  const int64_t idle = n.moe_layers * (c.n_routed_experts - c.num_experts_per_tok) * n.expert;
  n.active_without_embedding =
      layers - idle + c.hidden_size + n.embedding;  // a tied head is read like any other
  n.active = n.active_without_embedding + n.head;   // and is the embedding already counted
  return n;
}

StoredCounts CountStored(const ModelConfig& config) {
  StoredCounts counts;
  for (const TensorSpec& spec : ExpectedTensors(config)) AddStored(spec, config.quantization, counts);
  counts.bytes = counts.f8 + 2 * counts.bf16 + 4 * (counts.f32 + counts.i32);
  return counts;
}

int64_t KvBytesPerToken(const ModelConfig& config, int64_t bytes_per_value) {
  return config.num_hidden_layers * config.latent_dim() * bytes_per_value;
}

}  // namespace hadal
