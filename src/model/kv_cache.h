// The paged latent cache: blocks of positions, in every layer at the same places.
#pragma once

#include <vector>

#include "kernels/ops.h"
#include "model/config.h"
#include "tensor/buffer.h"

namespace hadal {

class KvCache {
 public:
  /// `blocks` blocks of `block_size` positions for each of `layers` layers. Layers from num_hidden_layers on are
  /// prediction layers: their latent of position p comes from the token at p + 1 as well, and lies at p + 1. So a
  /// block holds, in every layer, what follows from the tokens up to its own and from no later one, and can be shared.
  static Result<KvCache> Create(const ModelConfig& config, int64_t layers, int64_t blocks, int64_t block_size,
                                bool bf16);
  static uint64_t PlannedBytes(const ModelConfig& config, int64_t layers, int64_t blocks, int64_t block_size,
                               bool bf16);

  const ops::LayerCache& layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }
  int64_t blocks() const { return blocks_; }
  int64_t block_size() const { return block_size_; }

 private:
  ByteBuffer memory_;
  std::vector<ops::LayerCache> layers_;
  int64_t blocks_ = 0, block_size_ = 0;
};

}  // namespace hadal
