// One step: the tokens that go through the layers together, and where they come from.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/ops.h"
#include "tensor/view.h"

namespace hadal {

using ops::Run;

/// Tokens of any number of sequences. Runs of prompt tokens come first, runs of generated tokens after them; rows
/// of activations are in the order of the runs. Vectors are reserved once and reused.
struct Step {
  std::vector<int32_t> tokens;      // [T]
  std::vector<int32_t> positions;   // [T]
  std::vector<Run> runs;
  std::vector<int32_t> logit_rows;  // rows whose logits are wanted, ascending

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  void Clear();
  void Reserve(int64_t tokens, int64_t logits, int64_t runs_at_most);
  /// Appends a run of `count` tokens at positions first_position, first_position + 1, …; prompt runs must be added
  /// before generated ones. `block_table` must outlive the step.
  void Add(Run::Role role, const int32_t* ids, int64_t count, int64_t first_position, const int32_t* block_table);
};

/// Looks at a forward pass as it runs; for tests and `hadal logits --hidden`. Views are valid during the call.
class ForwardObserver {
 public:
  virtual ~ForwardObserver() = default;
  /// `name`: "embed", "final_norm" (layer -1), "q", "kv", "attn_heads", "attn_out", "router_logits", "routed_out",
  /// "mlp_out", "hidden" (after the layer), and "eh" of a prediction layer.
  virtual void OnTensor(std::string_view name, int64_t layer, View<const float> values) = 0;
  /// ids, weights: [T, K].
  virtual void OnRoutes(int64_t layer, View<const int32_t> ids, View<const float> weights) = 0;
};

}  // namespace hadal
