// Blocks of prompts that are kept after their request and shared by requests with the same beginning.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/block_hash.h"
#include "engine/block_pool.h"

namespace hadal {

/// Full blocks of prompt tokens, by what they and all before them hold. A latent depends on the tokens up to
/// its own and on its role, so blocks with generated tokens are never here.
///
/// A hit is verified, token by token and block by block back to the first: equal hashes of different prompts
/// cost a miss, never a mix-up. A block in the cache is full and nobody writes anything else to it (a token that is
/// computed again gives the same bits), hence sharing needs no copies: the first block in which two sequences may
/// differ is each one's own. The cache is one of its blocks' owners; those that have no other are given up, the least
/// recently used first, when blocks are needed.
///
/// Not thread-safe, but for Hashes. Allocates nothing after construction, but for Hashes.
class PrefixCache {
 public:
  /// `pool` must outlive the cache, and every table with shared blocks be released through it.
  PrefixCache(BlockPool& pool, int64_t block_size, bool enabled, HashKey key);
  static uint64_t PlannedBytes(int64_t blocks, int64_t block_size);

  /// Of each full block of a prompt; none if the cache is off.
  std::vector<BlockHash> Hashes(std::span<const int32_t> prompt) const;

  struct Match {
    int64_t blocks = 0;  // the prompt's first blocks that are here
    int64_t idle = 0;    // of these, held by the cache alone
  };
  /// `ids`: the prompt's tokens, those of the hashes at least.
  Match Find(std::span<const BlockHash> hashes, std::span<const int32_t> ids) const;
  /// Appends the first `blocks` blocks, which Find has just found, to the empty `table`.
  void Take(std::span<const BlockHash> hashes, std::span<const int32_t> ids, int64_t blocks,
            std::vector<int32_t>& table);

  /// Offers table[index], which is computed and full of `ids`; those before it are in the cache. If it knows
  /// a block with the same beginning, that one replaces it in the table.
  void Insert(const BlockHash& hash, std::span<const int32_t> ids, int64_t index,
              std::vector<int32_t>& table);

  /// Blocks that Extend can give.
  int64_t available() const { return pool_.free_blocks() + idle_; }
  /// Blocks held by the cache alone.
  int64_t idle() const { return idle_; }
  /// BlockPool::Extend, giving up idle blocks as needed.
  Status Extend(std::vector<int32_t>& table, int64_t count);
  /// Drops a table's blocks. Its last blocks are the first to be given up.
  void Release(std::vector<int32_t>& table);
  /// Takes the blocks out of the cache: what they hold is not to be trusted.
  void Forget(std::span<const int32_t> blocks);
  /// Gives up all idle blocks.
  void Clear();

 private:
  static constexpr int32_t kNone = -1;
  struct Entry {  // of a block
    BlockHash hash;
    uint64_t serial = 0;  // of its insertion; 0: not in the cache
    uint64_t parent = 0;  // serial of the block before; 0: the first
    int32_t next_in_bucket = kNone;
    int32_t older = kNone, newer = kNone;  // of the idle
  };
  Entry& entry(int32_t block) { return entries_[static_cast<size_t>(block)]; }
  const Entry& entry(int32_t block) const { return entries_[static_cast<size_t>(block)]; }
  int32_t& bucket(const BlockHash& hash) { return buckets_[hash.low & (buckets_.size() - 1)]; }
  bool Cached(int32_t block) const { return entry(block).serial != 0; }
  bool Idle(int32_t block) const { return Cached(block) && pool_.owners(block) == 1; }

  int32_t WithHash(const BlockHash& hash) const;
  bool Holds(int32_t block, uint64_t parent, std::span<const int32_t> ids) const;
  int32_t Hit(const BlockHash& hash, uint64_t parent, std::span<const int32_t> ids) const;
  void Remove(int32_t block);
  void LinkNewest(int32_t block);
  void Unlink(int32_t block);

  BlockPool& pool_;
  const int64_t block_size_;
  const bool enabled_;
  const HashKey key_;
  std::vector<Entry> entries_;    // [blocks]
  std::vector<int32_t> ids_;      // [blocks, block_size] of those in the cache
  std::vector<int32_t> buckets_;  // first block of each hash chain; a power of two of them
  uint64_t last_serial_ = 0;
  int32_t oldest_ = kNone, newest_ = kNone;
  int64_t idle_ = 0;
};

}  // namespace hadal
