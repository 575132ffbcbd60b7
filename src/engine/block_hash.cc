#include "engine/block_hash.h"

#include <unistd.h>

#include <bit>

namespace hadal {
namespace {

class Sip {
 public:
  explicit Sip(const HashKey& key)
      : v0_(key[0] ^ 0x736f6d6570736575),
        v1_(key[1] ^ 0x646f72616e646f6d ^ 0xee),
        v2_(key[0] ^ 0x6c7967656e657261),
        v3_(key[1] ^ 0x7465646279746573) {}

  void Add(uint64_t word) {
    v3_ ^= word;
    Rounds(2);
    v0_ ^= word;
  }

  BlockHash Finish() {
    v2_ ^= 0xee;
    Rounds(4);
    const uint64_t low = v0_ ^ v1_ ^ v2_ ^ v3_;
    v1_ ^= 0xdd;
    Rounds(4);
    return {low, v0_ ^ v1_ ^ v2_ ^ v3_};
  }

 private:
  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0_ += v1_;
      v2_ += v3_;
      v1_ = std::rotl(v1_, 13) ^ v0_;
      v3_ = std::rotl(v3_, 16) ^ v2_;
      v0_ = std::rotl(v0_, 32);
      v2_ += v1_;
      v0_ += v3_;
      v1_ = std::rotl(v1_, 17) ^ v2_;
      v3_ = std::rotl(v3_, 21) ^ v0_;
      v2_ = std::rotl(v2_, 32);
    }
  }

  uint64_t v0_, v1_, v2_, v3_;
};

}  // namespace

Result<HashKey> RandomHashKey() {
  HashKey key;
  if (getentropy(key.data(), sizeof key) != 0)
    return Unavailable(
        "the system gives no random numbers (getentropy); the prefix cache needs a secret key");
  return key;
}

BlockHash HashBlock(const HashKey& key, const BlockHash& parent, std::span<const int32_t> ids) {
  Sip sip(key);
  sip.Add(parent.low);
  sip.Add(parent.high);
  const auto id = [&](size_t i) { return uint64_t{static_cast<uint32_t>(ids[i])}; };
  size_t i = 0;
  for (; i + 2 <= ids.size(); i += 2) sip.Add(id(i) | id(i + 1) << 32);
  // The last word has the bytes that are left and, in its top byte, the length.
  const uint64_t bytes = 16 + 4 * ids.size();
  sip.Add((i < ids.size() ? id(i) : 0) | bytes << 56);
  return sip.Finish();
}

}  // namespace hadal
