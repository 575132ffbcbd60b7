// Byte-pair encoding learnt from counted pieces of text (Gage 1994; Sennrich et al., arXiv 1508.07909), on
// bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hadal::train {

/// How often each piece, raw bytes, occurs.
using PieceCounts = std::unordered_map<std::string, int64_t>;

struct BpeTrainerOptions {
  int64_t tokens = 0;     // at most so many with the 256 bytes
  int64_t min_count = 2;  // a pair that occurs less often is not merged
  /// Strings that no merge may give: the contents of added tokens.
  std::vector<std::string> forbidden;
  /// Told after some merges how many there are and could be; false ends with kCancelled.
  std::function<bool(uint64_t done, uint64_t total)> progress;
};

struct TrainedBpe {
  std::vector<std::string> tokens;  // bytes of each; the first 256 are the single ones, in order
  std::vector<std::pair<int32_t, int32_t>> merges;  // indices of tokens, in the order of their ranks
};

/// Merges the most frequent pair of neighbours again and again; of equally frequent ones that of the lower
/// indices, so that the result depends on the counts alone. Longer pieces count with their first
/// kMaxTrainedPiece bytes, and no token gets longer than kMaxTrainedToken. One thread; O(pieces + merges
/// times the pieces that they are in). kCancelled.
Result<TrainedBpe> TrainBpe(const PieceCounts& pieces, const BpeTrainerOptions& options);

inline constexpr size_t kMaxTrainedPiece = 1024, kMaxTrainedToken = 64;

}  // namespace hadal::train
