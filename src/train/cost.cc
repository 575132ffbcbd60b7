#include "train/cost.h"

#include "model/parameters.h"

namespace hadal::train {

double TrainingFlops(const ModelConfig& c, std::span<const MicroBatch> batches) {
  const ParameterCounts counts = CountParameters(c);
  double tokens = 0, pairs = 0;
  for (const MicroBatch& batch : batches) {
    tokens += static_cast<double>(batch.rows());
    for (const int32_t position : batch.positions) pairs += position + 1;
  }
  const auto experts = static_cast<double>(c.n_routed_experts - c.num_experts_per_tok);
  double parameters = static_cast<double>(counts.active_without_embedding);
  const auto predictions = static_cast<double>(c.num_nextn_predict_layers);
  if (predictions > 0) {
    // Experts that are not chosen do nothing, in prediction layers too.
    const double idle = c.IsMoeLayer(c.num_hidden_layers) ? experts * static_cast<double>(counts.expert) : 0;
    parameters += static_cast<double>(counts.mtp) +
                  predictions * (static_cast<double>(c.vocab_size * c.hidden_size) - idle);
  }
  const double layers = static_cast<double>(c.num_hidden_layers) + predictions;
  const double per_pair = 2.0 * static_cast<double>(c.num_attention_heads * (c.qk_head_dim() + c.v_head_dim));
  return 6 * parameters * tokens + 3 * layers * per_pair * pairs;
}

}  // namespace hadal::train
