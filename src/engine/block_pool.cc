#include "engine/block_pool.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace hadal {

BlockPool::BlockPool(int64_t blocks) : used_(static_cast<size_t>(blocks), false) {
  free_.reserve(used_.size());
  for (int64_t i = blocks - 1; i >= 0; --i) free_.push_back(static_cast<int32_t>(i));
}

Status BlockPool::Extend(std::vector<int32_t>& table, int64_t count) {
  const int64_t more = count - static_cast<int64_t>(table.size());
  if (more > free_blocks())
    return ResourceExhausted("{} more cache blocks are needed and {} of {} are free", more, free_blocks(), blocks());
  for (int64_t i = 0; i < more; ++i) {
    const int32_t block = free_.back();
    free_.pop_back();
    used_[static_cast<size_t>(block)] = true;
    table.push_back(block);
  }
  return {};
}

void BlockPool::Release(std::vector<int32_t>& table) {
  for (const int32_t block : table) {
    HADAL_CHECK(used_[static_cast<size_t>(block)], "block {} was given back twice", block);
    used_[static_cast<size_t>(block)] = false;
    free_.insert(std::upper_bound(free_.begin(), free_.end(), block, std::greater<>()), block);
  }
  table.clear();
}

}  // namespace hadal
