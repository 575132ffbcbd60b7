#include "engine/prefix_cache.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace hadal {

PrefixCache::PrefixCache(BlockPool& pool, int64_t block_size, bool enabled, HashKey key)
    : pool_(pool),
      block_size_(block_size),
      enabled_(enabled),
      key_(key),
      entries_(static_cast<size_t>(pool.blocks())),
      ids_(enabled ? static_cast<size_t>(pool.blocks() * block_size) : 0),
      buckets_(std::bit_ceil(static_cast<size_t>(std::max<int64_t>(2 * pool.blocks(), 1))), kNone) {}

uint64_t PrefixCache::PlannedBytes(int64_t blocks, int64_t block_size) {
  const uint64_t count = static_cast<uint64_t>(blocks);
  return count * sizeof(Entry) + count * static_cast<uint64_t>(block_size) * sizeof(int32_t) +
         std::bit_ceil(std::max<uint64_t>(2 * count, 1)) * sizeof(int32_t);
}

std::vector<BlockHash> PrefixCache::Hashes(std::span<const int32_t> prompt) const {
  std::vector<BlockHash> hashes;
  if (!enabled_) return hashes;
  const size_t size = static_cast<size_t>(block_size_);
  hashes.reserve(prompt.size() / size);
  BlockHash parent;
  for (size_t begin = 0; begin + size <= prompt.size(); begin += size) {
    parent = HashBlock(key_, parent, prompt.subspan(begin, size));
    hashes.push_back(parent);
  }
  return hashes;
}

int32_t PrefixCache::WithHash(const BlockHash& hash) const {
  int32_t block = buckets_[hash.low & (buckets_.size() - 1)];
  while (block != kNone && entry(block).hash != hash) block = entry(block).next_in_bucket;
  return block;
}

/// Whether a cached block continues the block with serial `parent` by the first block_size of `ids`. By
/// induction its whole beginning is then the same: a serial names one insertion, whose tokens and parent
/// never change.
bool PrefixCache::Holds(int32_t block, uint64_t parent, std::span<const int32_t> ids) const {
  return entry(block).parent == parent &&
         std::equal(ids.begin(), ids.begin() + block_size_, ids_.begin() + block * block_size_);
}

int32_t PrefixCache::Hit(const BlockHash& hash, uint64_t parent, std::span<const int32_t> ids) const {
  const int32_t block = WithHash(hash);
  return block != kNone && Holds(block, parent, ids) ? block : kNone;
}

PrefixCache::Match PrefixCache::Find(std::span<const BlockHash> hashes, std::span<const int32_t> ids) const {
  Match match;
  uint64_t parent = 0;
  for (const BlockHash& hash : hashes) {
    const int32_t block = Hit(hash, parent, ids.subspan(static_cast<size_t>(match.blocks * block_size_)));
    if (block == kNone) break;
    ++match.blocks;
    match.idle += Idle(block);
    parent = entry(block).serial;
  }
  return match;
}

void PrefixCache::Take(std::span<const BlockHash> hashes, std::span<const int32_t> ids, int64_t blocks,
                       std::vector<int32_t>& table) {
  HADAL_CHECK(table.empty(), "a table of {} blocks", table.size());
  uint64_t parent = 0;
  for (int64_t i = 0; i < blocks; ++i) {
    const int32_t block =
        Hit(hashes[static_cast<size_t>(i)], parent, ids.subspan(static_cast<size_t>(i * block_size_)));
    HADAL_CHECK(block != kNone, "block {} of {} is not in the cache", i, blocks);
    if (Idle(block)) Unlink(block);
    pool_.Share(block);
    table.push_back(block);
    parent = entry(block).serial;
  }
}

void PrefixCache::Insert(const BlockHash& hash, std::span<const int32_t> ids, int64_t index,
                         std::vector<int32_t>& table) {
  HADAL_CHECK_EQ(static_cast<int64_t>(ids.size()), block_size_);
  int32_t& block = table[static_cast<size_t>(index)];
  const uint64_t parent = index == 0 ? 0 : entry(table[static_cast<size_t>(index - 1)]).serial;
  if ((index > 0 && parent == 0) || Cached(block)) return;  // the block before was forgotten
  const int32_t known = WithHash(hash);
  if (known != kNone && Holds(known, parent, ids)) {
    if (Idle(known)) Unlink(known);
    pool_.Share(known);
    pool_.Drop(block);
    block = known;
    return;
  }
  if (known != kNone) Remove(known);  // a continuation of what was forgotten, or a collision
  pool_.Share(block);
  std::copy(ids.begin(), ids.end(), ids_.begin() + block * block_size_);
  Entry& e = entry(block);
  e.hash = hash;
  e.serial = ++last_serial_;
  e.parent = parent;
  e.next_in_bucket = bucket(hash);
  bucket(hash) = block;
}

Status PrefixCache::Extend(std::vector<int32_t>& table, int64_t count) {
  const int64_t more = count - static_cast<int64_t>(table.size());
  if (more <= available()) {
    while (pool_.free_blocks() < more) Remove(oldest_);
  }
  return pool_.Extend(table, count);
}

void PrefixCache::Release(std::vector<int32_t>& table) {
  // From the end, so that of the idle a block is always newer than what continues it.
  for (auto block = table.rbegin(); block != table.rend(); ++block) {
    pool_.Drop(*block);
    if (Cached(*block) && Idle(*block)) LinkNewest(*block);
  }
  table.clear();
}

void PrefixCache::Forget(std::span<const int32_t> blocks) {
  for (const int32_t block : blocks)
    if (Cached(block)) Remove(block);
}

void PrefixCache::Clear() {
  while (oldest_ != kNone) Remove(oldest_);
}

/// Takes a block out of the cache; it is free then if no sequence holds it.
void PrefixCache::Remove(int32_t block) {
  Entry& e = entry(block);
  if (Idle(block)) Unlink(block);
  int32_t* link = &bucket(e.hash);
  while (*link != block) link = &entry(*link).next_in_bucket;
  *link = e.next_in_bucket;
  e.serial = 0;
  pool_.Drop(block);
}

void PrefixCache::LinkNewest(int32_t block) {
  Entry& e = entry(block);
  e.older = newest_;
  e.newer = kNone;
  (newest_ == kNone ? oldest_ : entry(newest_).newer) = block;
  newest_ = block;
  ++idle_;
}

void PrefixCache::Unlink(int32_t block) {
  const Entry& e = entry(block);
  (e.older == kNone ? oldest_ : entry(e.older).newer) = e.newer;
  (e.newer == kNone ? newest_ : entry(e.newer).older) = e.older;
  --idle_;
}

}  // namespace hadal
