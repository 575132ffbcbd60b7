#include "engine/bench_cost.h"

#include "model/parameters.h"

namespace hadal {

double PrefillOperations(const ModelConfig& c, int64_t count, int64_t depth) {
  const double tokens = static_cast<double>(count);
  const double head = static_cast<double>(c.vocab_size * c.hidden_size);
  const double linears = static_cast<double>(CountParameters(c).active_without_embedding) - head;
  const double pairs = tokens * static_cast<double>(depth) + tokens * (tokens + 1) / 2;
  const double pair =
      static_cast<double>(c.num_hidden_layers * 2 * c.num_attention_heads * (c.qk_head_dim() + c.v_head_dim));
  return 2 * linears * tokens + 2 * head + pair * pairs;
}

double DecodeStepBytes(const ModelConfig& config, const Weights& weights, const KvCache& cache, int64_t batch,
                       double experts, double positions) {
  const double tokens = static_cast<double>(batch);
  return DecodeCost(config, weights, cache).Bytes(tokens, experts, tokens * positions);
}

ArithmeticLimit LimitOf(const Weights& weights, const MachineLimits& limits) {
  const InputFormat input = weights.layers.front().attention.out.input;
  if (input == InputFormat::kInt8 && limits.int8_gops > 0) return {"int8_gops", limits.int8_gops};
  if (input == InputFormat::kBF16 && limits.bf16_gflops > 0) return {"bf16_gflops", limits.bf16_gflops};
  return {"f32_gflops", limits.f32_gflops};
}

}  // namespace hadal
