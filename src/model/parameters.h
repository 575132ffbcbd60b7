// How many parameters a model has, part by part, exactly; what a folder stores; what a cached token costs.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace hadal {

/// Numbers of parameters. Norms count with the part they belong to.
struct ParameterCounts {
  int64_t attention = 0;                     // of one layer, its latent norms included
  int64_t dense_network = 0;                 // feed-forward of one dense layer
  int64_t expert = 0;                        // one routed expert
  int64_t shared_experts = 0;                // of one layer
  int64_t router = 0;                        // of one layer, with its selection bias where it has one
  int64_t dense_layer = 0, moe_layer = 0;    // whole, with the two norms
  int64_t dense_layers = 0, moe_layers = 0;  // how many of each, prediction layers not counted
  int64_t embedding = 0;
  int64_t head = 0;            // 0 if tied to the embedding
  int64_t routed_experts = 0;  // all of the main model
  int64_t main = 0;            // the model without prediction layers
  int64_t mtp = 0;             // prediction layers, without their copies of embedding and head
  /// Read for one token: everything but the experts that are not chosen. The head counts (also a tied one);
  /// the embedding, of which a token reads one row, counts in the second figure only.
  int64_t active_without_embedding = 0, active = 0;
};

/// Precondition: ParseConfig accepted the config, so no product overflows.
ParameterCounts CountParameters(const ModelConfig& config);

/// Elements that a folder stores, by dtype, and their bytes. Prediction layers store copies of embedding and
/// head. Under compressed-tensors every linear is taken as packed (a folder may except some: its `ignore`
/// list).
struct StoredCounts {
  int64_t f8 = 0, bf16 = 0,
          f32 = 0;  // F8_E4M3 codes; plain weights, norms; router bias and FP8's block scales
  int64_t i32 = 0;  // compressed-tensors: packed words and shapes
  int64_t bytes = 0;
  int64_t elements() const { return f8 + bf16 + f32 + i32; }
};
StoredCounts CountStored(const ModelConfig& config);

/// Bytes of the latent cache for one token over the main model's layers; each prediction layer in use adds
/// latent_dim() * bytes_per_value.
int64_t KvBytesPerToken(const ModelConfig& config, int64_t bytes_per_value);

}  // namespace hadal
