#include "model/activations.h"

#include <algorithm>

namespace hadal {
namespace {

int64_t SharedIntermediate(const ModelConfig& c) { return c.moe_intermediate_size * c.n_shared_experts; }

int64_t WidestFeedForward(const ModelConfig& c) {
  // A config whose layers are all MoE has no dense width, and one without experts no shared one.
  return std::max(c.intermediate_size, SharedIntermediate(c));
}

}  // namespace

template <typename Visitor>
void Activations::ForEach(const ModelConfig& c, const StepLimits& l, Visitor&& visit) {
  const int64_t t = l.tokens, d = c.hidden_size, h = c.num_attention_heads, k = c.num_experts_per_tok;
  const int64_t absorbed = std::min(t, kAbsorbedRows);
  const int64_t experts = c.n_routed_experts, routes = experts > 0 ? t * k : 0;
  const int64_t routed_tokens = experts > 0 ? t : 0;
  visit(hidden, t, d);
  visit(normed, t, d);
  visit(branch, t, d);
  visit(q_latent, t, c.q_lora_rank);
  visit(q, t, h * c.qk_head_dim());
  visit(kv, t, c.latent_dim());
  visit(q_absorbed, absorbed, h * c.kv_lora_rank);
  visit(o_latent, absorbed, h * c.kv_lora_rank);
  visit(heads, t, h * c.v_head_dim);
  visit(gate, t, WidestFeedForward(c));
  visit(up, t, WidestFeedForward(c));
  visit(router_logits, routed_tokens, experts);
  visit(route_ids, routed_tokens, k);
  visit(route_weights, routed_tokens, k);
  visit(expert_gate, routes, c.moe_intermediate_size);
  visit(expert_up, routes, c.moe_intermediate_size);
  visit(expert_out, routes, d);
  visit(expert_first, 1, experts + 1);
  visit(expert_rows, 1, routes);
  visit(route_places, routed_tokens, k);
  visit(shared_out, c.n_shared_experts > 0 ? routed_tokens : 0, d);
  visit(selected, l.logit_rows, d);
  visit(logits, l.logit_rows, c.vocab_size);
  visit(mtp_input, l.mtp ? t : 0, 2 * d);
}

uint64_t Activations::PlannedBytes(const ModelConfig& config, const StepLimits& limits) {
  uint64_t bytes = 0;
  Activations none;
  none.ForEach(config, limits, [&](auto& view, int64_t rows, int64_t cols) {
    bytes += static_cast<uint64_t>(rows * cols) * sizeof(*view.data);
    bytes = (bytes + 63) / 64 * 64;
  });
  return bytes;
}

Result<Activations> Activations::Create(const ModelConfig& config, const StepLimits& limits) {
  Activations a;
  ASSIGN_OR_RETURN(a.memory_, ByteBuffer::Allocate(PlannedBytes(config, limits), "activations"));
  std::byte* free = a.memory_.data();
  a.ForEach(config, limits, [&](auto& view, int64_t rows, int64_t cols) {
    using Element = std::remove_pointer_t<decltype(view.data)>;
    view = View<Element>(reinterpret_cast<Element*>(free), rows, cols);
    free += (static_cast<uint64_t>(rows * cols) * sizeof(Element) + 63) / 64 * 64;
  });
  a.jobs.reserve(static_cast<size_t>(LimitsOf(config, limits).jobs));
  a.queries.reserve(static_cast<size_t>(limits.tokens));
  return a;
}

OpLimits LimitsOf(const ModelConfig& c, const StepLimits& l) {
  const int64_t t = l.tokens, absorbed = std::min(t, kAbsorbedRows), heads = c.num_attention_heads;
  const int64_t experts = c.n_routed_experts, routes = t * c.num_experts_per_tok;
  OpLimits limits;
  limits.prepared_bytes = std::max({
      kDistinctInputs * PreparedBytesBound(t, std::max(c.hidden_size, c.q_lora_rank)),
      PreparedBytesBound(absorbed * heads, std::max(c.kv_lora_rank, c.qk_nope_head_dim)),
      PreparedBytesBound(t, heads * c.v_head_dim),
      PreparedBytesBound(t, WidestFeedForward(c)),
      PreparedBytesBound(experts > 0 ? routes : 0, c.moe_intermediate_size) +
          PreparedBytesBound(t, SharedIntermediate(c)) + kDistinctInputs * PreparedBytesBound(t, c.hidden_size),
      PreparedBytesBound(l.logit_rows, c.hidden_size),
      PreparedBytesBound(l.mtp ? t : 0, 2 * c.hidden_size),
  });
  limits.jobs = std::max(heads, 2 * std::min(experts, routes) + 2);
  limits.prompt_run = t;
  limits.context = l.context;
  limits.nope = c.qk_nope_head_dim;
  limits.rope = c.qk_rope_head_dim;
  limits.value = c.v_head_dim;
  limits.latent = c.kv_lora_rank;
  return limits;
}

}  // namespace hadal
