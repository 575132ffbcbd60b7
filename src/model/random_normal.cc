#include "model/random_normal.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

constexpr int kLanes = 16;          // counters taken together
constexpr int kBlock = 4 * kLanes;  // values they give

/// The sums of four bytes of block `block`'s words, 0 to 1020: base/rng.h's Philox on 16 counters side by
/// side, in loops that become vector code.
void SumsOfBlock(uint64_t seed, uint64_t stream, uint64_t block, uint32_t (&sums)[kBlock]) {
  uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    const uint64_t counter = block * kLanes + static_cast<uint64_t>(l);
    c0[l] = static_cast<uint32_t>(counter);
    c1[l] = static_cast<uint32_t>(counter >> 32);
    c2[l] = static_cast<uint32_t>(stream);
    c3[l] = static_cast<uint32_t>(stream >> 32);
  }
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int l = 0; l < kLanes; ++l) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c0[l], p1 = uint64_t{0xCD9E8D57} * c2[l];
      c0[l] = static_cast<uint32_t>(p1 >> 32) ^ c1[l] ^ key0;
      c1[l] = static_cast<uint32_t>(p1);
      c2[l] = static_cast<uint32_t>(p0 >> 32) ^ c3[l] ^ key1;
      c3[l] = static_cast<uint32_t>(p0);
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  const auto sum = [](uint32_t word) {
    const uint32_t pairs = (word & 0x00ff00ff) + (word >> 8 & 0x00ff00ff);
    return (pairs & 0xffff) + (pairs >> 16);
  };
  for (int l = 0; l < kLanes; ++l) {
    sums[l] = sum(c0[l]);
    sums[kLanes + l] = sum(c1[l]);
    sums[2 * kLanes + l] = sum(c2[l]);
    sums[3 * kLanes + l] = sum(c3[l]);
  }
}

}  // namespace

uint64_t StreamOf(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

void FillNormal(uint64_t seed, uint64_t stream, int64_t first, int64_t count, float mean, float deviation,
                float* out) {
  HADAL_CHECK(first >= 0 && count >= 0, "values {}+{}", first, count);
  // Four bytes: mean 4 * 127.5, variance 4 * (256^2 - 1) / 12 = 147.8^2.
  const float scale = deviation / 147.80054f;
  uint32_t sums[kBlock];
  float values[kBlock];
  for (int64_t index = first; index < first + count;) {
    const int64_t block = index / kBlock, begin = index % kBlock;
    const int64_t end = std::min<int64_t>(kBlock, begin + first + count - index);
    SumsOfBlock(seed, stream, static_cast<uint64_t>(block), sums);
    for (int i = 0; i < kBlock; ++i)
      values[i] = mean + static_cast<float>(static_cast<int>(sums[i]) - 510) * scale;
    out = std::copy(values + begin, values + end, out);
    index += end - begin;
  }
}

}  // namespace hadal
