#include "engine/block_pool.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/check.h"

namespace hadal {

BlockPool::BlockPool(int64_t blocks)
    : free_(static_cast<size_t>(blocks)), owners_(static_cast<size_t>(blocks), 0) {
  std::iota(free_.begin(), free_.end(), 0);  // ascending is a heap
}

Status BlockPool::Extend(std::vector<int32_t>& table, int64_t count) {
  const int64_t more = count - static_cast<int64_t>(table.size());
  if (more > free_blocks())
    return ResourceExhausted("{} more cache blocks are needed and {} of {} are free", more, free_blocks(),
                             blocks());
  for (int64_t i = 0; i < more; ++i) {
    std::pop_heap(free_.begin(), free_.end(), std::greater<>());
    const int32_t block = free_.back();
    free_.pop_back();
    owners_[static_cast<size_t>(block)] = 1;
    table.push_back(block);
  }
  return {};
}

void BlockPool::Share(int32_t block) {
  HADAL_CHECK(owners(block) > 0, "block {} is free", block);
  ++owners_[static_cast<size_t>(block)];
}

void BlockPool::Drop(int32_t block) {
  HADAL_CHECK(owners(block) > 0, "block {} was given back twice", block);
  if (--owners_[static_cast<size_t>(block)] > 0) return;
  free_.push_back(block);
  std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

void BlockPool::Release(std::vector<int32_t>& table) {
  for (const int32_t block : table) Drop(block);
  table.clear();
}

}  // namespace hadal
