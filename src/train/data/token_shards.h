// Tokenised text on disk: documents of token ids in a few mapped files.
//
//   index.json           format, vocabulary size, tokenizer fingerprint, and of each shard name, counts and
//   checksum tokens-NNNNN.bin     "hadaltok", u32 version, u32 0, u64 tokens, u64 documents,
//                        i32 ids [tokens], u8 flags [tokens]; little-endian
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal::train {

/// Flags of a token.
inline constexpr uint8_t kDocumentStart = 1;
inline constexpr uint8_t kLearnt = 2;  // a target of training

struct ShardInfo {
  std::string name;
  int64_t tokens = 0, documents = 0;
  uint64_t checksum = 0;  // base/checksum.h over the whole file
  bool operator==(const ShardInfo&) const = default;
};

struct TokenIndex {
  int64_t vocab_size = 0;
  std::string tokenizer;  // fingerprint of tokenizer.json
  std::vector<ShardInfo> shards;
};

/// "tokens-00003.bin".
std::string TokenShardName(int64_t number);
/// Writes one shard, atomically. The first token of every document has kDocumentStart, so has the first of
/// all. kInvalidArgument: it has not, sizes differ, or there is nothing to write.
Result<ShardInfo> WriteTokenShard(const Path& path, std::span<const int32_t> tokens,
                                  std::span<const uint8_t> flags);
Status WriteTokenIndex(const Path& dir, const TokenIndex& index);
/// kNotFound, kDataLoss.
Result<TokenIndex> LoadTokenIndex(const Path& dir);

/// All documents of a folder. Movable; the spans live as long as it.
class TokenDataset {
 public:
  /// Maps the shards and checks their sizes and headers; with `verify` their checksums and that ids are below
  /// the vocabulary size. kNotFound, kDataLoss.
  static Result<TokenDataset> Open(const Path& dir, bool verify);

  const TokenIndex& index() const { return index_; }
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }
  int64_t tokens() const { return tokens_; }
  struct Document {
    std::span<const int32_t> tokens;
    std::span<const uint8_t> flags;
  };
  Document document(int64_t i) const;
  /// Differs between folders of different content.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  struct Place {
    uint32_t shard;
    uint32_t tokens;  // of the document
    uint64_t first;   // of the shard's tokens
  };
  Status AddShard(const Path& dir, const ShardInfo& info, bool verify);

  TokenIndex index_;
  std::vector<MappedFile> files_;
  std::vector<Place> documents_;
  int64_t tokens_ = 0;
  uint64_t fingerprint_ = 0;
};

}  // namespace hadal::train
