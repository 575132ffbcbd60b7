#include "model/kv_cache.h"

namespace hadal {

uint64_t KvCache::PlannedBytes(const ModelConfig& config, int64_t layers, int64_t blocks, int64_t block_size,
                               bool bf16) {
  return static_cast<uint64_t>(layers) * static_cast<uint64_t>(blocks) * static_cast<uint64_t>(block_size) *
         static_cast<uint64_t>(config.latent_dim()) * (bf16 ? 2 : 4);
}

Result<KvCache> KvCache::Create(const ModelConfig& config, int64_t layers, int64_t blocks, int64_t block_size,
                                bool bf16) {
  KvCache cache;
  const uint64_t bytes = PlannedBytes(config, layers, blocks, block_size, bf16);
  ASSIGN_OR_RETURN(cache.memory_, ByteBuffer::Allocate(bytes, "the latent cache"));
  cache.blocks_ = blocks;
  cache.block_size_ = block_size;
  for (int64_t i = 0; i < layers; ++i) {
    const uint64_t offset = bytes / static_cast<uint64_t>(layers) * static_cast<uint64_t>(i);
    const int64_t shift = i < config.num_hidden_layers ? 0 : 1;
    cache.layers_.push_back({cache.memory_.data() + offset, block_size, config.latent_dim(), bf16, shift});
  }
  return cache;
}

}  // namespace hadal
