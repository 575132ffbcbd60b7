// A small model and batches for tests of training.
#pragma once

#include "base/rng.h"
#include "model/config.h"
#include "train/layers/micro_batch.h"
#include "train/trainer.h"

namespace hadal::train {

/// Dense and expert layers, groups, shared experts, compressed queries, a prediction layer; odd sizes.
inline ModelConfig SmallConfig() {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.vocab_size = 61;
  c.hidden_size = 24;
  c.num_hidden_layers = 3;
  c.num_nextn_predict_layers = 1;
  c.max_position_embeddings = 64;
  c.num_attention_heads = 4;
  c.q_lora_rank = 12;
  c.kv_lora_rank = 10;
  c.qk_nope_head_dim = 6;
  c.qk_rope_head_dim = 4;
  c.v_head_dim = 5;
  c.intermediate_size = 21;
  c.first_k_dense_replace = 1;
  c.moe_intermediate_size = 11;
  c.n_routed_experts = 8;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 3;
  c.n_group = 4;
  c.topk_group = 2;
  c.routed_scaling_factor = 1.5;
  return c;
}

/// `sequences` of `length` random tokens, each cut into documents of uneven lengths, some tokens not learnt.
/// Batch `index` of one seed is always the same.
inline MicroBatch RandomBatch(const ModelConfig& c, int64_t sequences, int64_t length, uint64_t seed,
                              uint64_t index) {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> starts, learn;
  for (int64_t t = 0; t < sequences * length; ++t) {
    const auto random = PhiloxAt(seed, index, static_cast<uint64_t>(t));
    tokens.push_back(static_cast<int32_t>(random[0] % static_cast<uint64_t>(c.vocab_size)));
    starts.push_back(random[1] % 7 == 0);
    learn.push_back(random[2] % 5 != 0);
  }
  return MakeMicroBatch(tokens, starts, learn, length);
}

inline TrainerOptions SmallOptions(Compute compute) {
  TrainerOptions o;
  o.sequence_length = 13;
  o.micro_batch_size = 2;
  o.accumulation_steps = 2;
  o.compute = compute;
  o.rate = {.peak = 1e-2, .warmup_steps = 2, .total_steps = 100};
  o.balance_weight = 0.05;
  return o;
}

}  // namespace hadal::train
