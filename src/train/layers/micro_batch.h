// The tokens of one forward and backward, with everything about them that does not depend on the model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hadal::train {

/// T rows: sequences one after another, each with documents one after another. A token sees its own document
/// only.
struct MicroBatch {
  std::vector<int32_t> tokens;     // [T]
  std::vector<int32_t> next;       // [T], the token after; -1 at a document's end
  std::vector<int32_t> targets;    // [T], what is to be predicted: `next`, or -1 where it is not learnt
  std::vector<int32_t> targets2;   // [T], the same two tokens on, for the prediction layer
  std::vector<int32_t> positions;  // [T], within the document
  std::vector<int32_t> first;      // [T], the document's first row
  std::vector<int32_t> bounds;     // [sequences + 1], rows of each sequence

  static constexpr uint64_t kBytesPerToken = 6 * sizeof(int32_t);

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t sequences() const { return static_cast<int64_t>(bounds.size()) - 1; }
};

/// Builds one from sequences of `length` tokens each, laid one after another in `tokens`. `starts`: whether a
/// document begins at the token (a sequence always begins one). `learn`: whether the token is a target.
/// All three have the same size, a multiple of `length`.
MicroBatch MakeMicroBatch(std::span<const int32_t> tokens, std::span<const uint8_t> starts,
                          std::span<const uint8_t> learn, int64_t length);

/// Targets of the first and of the second kind that are not -1.
struct TargetCounts {
  int64_t next = 0, second = 0;
};
TargetCounts CountTargets(const MicroBatch& batch);

}  // namespace hadal::train
