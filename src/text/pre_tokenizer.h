// Pre-tokenization: cutting a text into the pieces that byte-pair encoding then takes one by one.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/regex.h"

namespace hadal {

/// What becomes of a match (the delimiter) when a text is split: the names of the reference.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct SplitStep {
  Regex regex;
  SplitBehavior behavior;
  bool invert;  // the stretches between the matches are the delimiters
};

/// The last step: bytes instead of characters, with what the reference does along the way.
struct ByteLevelStep {
  bool add_prefix_space;       // a blank before each piece that does not begin with one
  std::optional<Regex> regex;  // then split by GPT-2's pattern
};

/// Threads: const functions are safe from any number.
class PreTokenizer {
 public:
  PreTokenizer(std::vector<SplitStep> splits, ByteLevelStep byte_level)
      : splits_(std::move(splits)), byte_level_(std::move(byte_level)) {}

  /// Pieces of a text: views of it, or of `prefixed` where a blank was put before.
  struct Pieces {
    std::vector<std::string_view> views;
    std::deque<std::string> prefixed;
  };

  /// Replaces `pieces` by those of `text` (valid UTF-8), none of them empty. Each step sees one piece of the
  /// step before at a time and nothing around it, so that a look-ahead ends where the piece ends.
  Status Split(std::string_view text, RegexRun& run, Pieces& pieces) const;

 private:
  std::vector<SplitStep> splits_;
  ByteLevelStep byte_level_;
};

/// The pattern that a ByteLevel step with use_regex splits by.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace hadal
