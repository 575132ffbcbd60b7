// Which documents share a sequence, and in which order sequences come: one pass over the data.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "train/data/token_shards.h"

namespace hadal::train {

/// A document's tokens [first, first + count).
struct DocumentPiece {
  uint32_t document, first;
};

class EpochPlan {
 public:
  /// Documents in an order drawn from (seed, epoch) are laid into sequences of `length` tokens, each into the
  /// fullest of a few open ones that has room; those longer than a sequence are cut into pieces of its length
  /// first. The sequences are then shuffled. With `shuffle` false documents and sequences keep their order.
  EpochPlan(const TokenDataset& data, int64_t length, uint64_t seed, uint64_t epoch, bool shuffle);

  /// kUnsupported: so many documents and tokens may make more pieces than 32 bits number.
  static Status Check(int64_t documents, int64_t tokens, int64_t length);

  int64_t sequences() const { return static_cast<int64_t>(begins_.size()) - 1; }
  std::span<const DocumentPiece> sequence(int64_t i) const;
  /// Tokens of documents over all places of sequences.
  double filled_share() const { return filled_share_; }

 private:
  std::vector<DocumentPiece> pieces_;
  std::vector<uint32_t> begins_;  // of each sequence's pieces, and the end
  std::vector<uint32_t> order_;   // of sequences
  double filled_share_ = 0;
};

}  // namespace hadal::train
