// Byte-pair encoding of one piece of text: its bytes become symbols, and neighbours are merged, best rank
// first.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/token_map.h"

namespace hadal {

struct Merge {
  int32_t left, right, result;  // ids; the merge's rank is its place in the list, lower first
};

struct BpeOptions {
  std::optional<int32_t> unknown_id{};  // stands for a byte that has no token
  bool fuse_unknown = false;            // neighbouring unknown bytes become one unknown_id
  bool byte_fallback = false;  // a byte without a token becomes its tokens <0xNN>, where there are such
  bool ignore_merges = false;  // a piece that is a token becomes that token, whatever the merges would give
};

/// Threads: const functions are safe from any number.
class Bpe {
 public:
  /// @param tokens    the model's vocabulary in the byte-level alphabet, without tokens that only were added.
  /// @param merges    ids of `tokens`. Of two merges of one pair the later counts.
  /// @param is_added  true for ids that only matching added tokens may give: they are never the result of a
  /// merge. kInvalidArgument if a byte of valid UTF-8 has no token and nothing stands in for it: text would
  /// be lost.
  static Result<Bpe> Create(const TokenMap& tokens, std::span<const Merge> merges, const BpeOptions& options,
                            const std::function<bool(int32_t)>& is_added);

  /// Buffers that Encode reuses from piece to piece; one for each thread.
  struct Scratch {
    struct Node {
      int32_t id;
      int32_t previous, next;  // -1: none
      uint32_t rank;           // of the merge with the next node
    };
    std::vector<int32_t> ids;
    std::vector<uint32_t> ranks;
    std::vector<Node> nodes;
    std::vector<uint64_t> heap;
  };

  /// Appends the ids of `piece`, raw bytes, at most kMaxPieceBytes of them. Cost: O(n log n).
  void Encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

  static constexpr size_t kMaxPieceBytes = size_t{1} << 28;

 private:
  static constexpr uint32_t kNoMerge = UINT32_MAX;

  // What a byte is before merging.
  struct Start {
    enum Kind : uint8_t { kNothing, kToken, kFallback, kUnknown } kind = kNothing;
    uint8_t count = 0;  // ids in use
    std::array<int32_t, 2> ids{};
  };
  struct Slot {
    uint64_t pair;
    uint32_t rank;
  };

  Bpe() = default;
  static Start StartOf(uint8_t byte, const TokenMap& tokens, const BpeOptions& options);
  void AddMerge(uint64_t pair, uint32_t rank);
  size_t SlotOf(uint64_t pair) const;
  uint32_t RankOf(int32_t left, int32_t right) const;
  void FindWholePieces(const TokenMap& tokens, const BpeOptions& options,
                       const std::function<bool(int32_t)>& is_added);
  void StartSymbols(std::string_view piece, std::vector<int32_t>& ids) const;
  void MergeByScan(Scratch& scratch) const;
  void MergeByHeap(Scratch& scratch) const;

  std::array<Start, 256> starts_;
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
  std::vector<Slot> slots_;       // open addressing by pair; a power of two of them
  std::vector<int32_t> results_;  // [merges] the id that the merge of a rank gives
  TokenMap whole_;                // bytes of the pieces that are known to become one token
  size_t longest_whole_ = 0;      // bytes
};

}  // namespace hadal
