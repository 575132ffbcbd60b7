// Who owns which block of the latent cache.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"

namespace hadal {

/// A fixed number of cache blocks, handed out lowest number first. A block may have several owners (sequences
/// with the same beginning, the prefix cache); it is free when the last has let go. Not thread-safe;
/// allocates nothing after construction.
class BlockPool {
 public:
  explicit BlockPool(int64_t blocks);
  int64_t blocks() const { return static_cast<int64_t>(owners_.size()); }
  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }
  int32_t owners(int32_t block) const { return owners_[static_cast<size_t>(block)]; }

  /// Extends `table` to `count` entries; kResourceExhausted, with nothing taken, if too few blocks are free.
  Status Extend(std::vector<int32_t>& table, int64_t count);
  /// Adds an owner to a block that has one.
  void Share(int32_t block);
  /// Takes an owner away.
  void Drop(int32_t block);
  /// Drops every block of `table` and empties it.
  void Release(std::vector<int32_t>& table);

 private:
  std::vector<int32_t> free_;    // a heap with the lowest at the front
  std::vector<int32_t> owners_;  // [blocks]
};

}  // namespace hadal
