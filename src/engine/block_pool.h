// Who owns which block of the latent cache.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"

namespace hadal {

/// A fixed number of cache blocks, handed out lowest number first. Not thread-safe; allocates nothing after
/// construction.
class BlockPool {
 public:
  explicit BlockPool(int64_t blocks);
  int64_t blocks() const { return static_cast<int64_t>(used_.size()); }
  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }

  /// Extends `table` to `count` entries; kResourceExhausted, with nothing taken, if too few blocks are free.
  Status Extend(std::vector<int32_t>& table, int64_t count);
  /// Gives every block of `table` back and empties it.
  void Release(std::vector<int32_t>& table);

 private:
  std::vector<int32_t> free_;  // descending, so that the lowest is taken from the end
  std::vector<bool> used_;
};

}  // namespace hadal
