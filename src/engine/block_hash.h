// Names for runs of tokens: a keyed 128-bit hash, chained from block to block.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/status.h"

namespace hadal {

struct BlockHash {
  uint64_t low = 0, high = 0;
  bool operator==(const BlockHash&) const = default;
};

using HashKey = std::array<uint64_t, 2>;

/// A key from the system's random source: nobody outside can then aim at collisions. kUnavailable: there is
/// none.
Result<HashKey> RandomHashKey();

/// SipHash-2-4 with 128 bits of output (Aumasson, Bernstein 2012) of `parent`'s 16 bytes and the ids' 4 each,
/// all little-endian. With the hash of the block before as `parent` it names a whole prefix; the first
/// block's is zero.
BlockHash HashBlock(const HashKey& key, const BlockHash& parent, std::span<const int32_t> ids);

}  // namespace hadal
