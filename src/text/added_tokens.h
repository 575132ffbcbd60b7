// Added tokens: strings such as <｜User｜> that are found in a text before anything else and become one id
// each.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/regex.h"

namespace hadal {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no word character stands before or after
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space after it along
  bool normalized = true;    // matched after the tokens with false, in what they left
  bool special = false;      // may be left out when decoding
};

/// A stretch of text, or an added token in its place.
struct Segment {
  std::string_view text;
  int32_t id = -1;  // of the added token; -1: ordinary text
};

/// Finds added tokens. Threads: const functions are safe from any number.
class AddedTokens {
 public:
  /// Contents must differ from each other and not be empty.
  static Result<AddedTokens> Create(std::vector<AddedToken> tokens);

  /// The segments of `text`, valid UTF-8, none of them empty. Of the tokens that match, the leftmost counts,
  /// of those the longest. Cost: O(text), times the length of the tokens where many begin alike.
  Result<std::vector<Segment>> Split(std::string_view text, RegexRun& run) const;

 private:
  // Tokens that are looked for together.
  struct Group {
    std::vector<AddedToken> sorted;  // by content
    std::array<bool, 256> begins{};  // bytes with which one begins
  };

  explicit AddedTokens(Regex word) : word_(std::move(word)) {}
  static const AddedToken* LongestAt(const Group& group, std::string_view text);
  Result<bool> StandsAlone(std::string_view before, std::string_view after, RegexRun& run) const;
  Status SplitBy(const Group& group, std::string_view text, RegexRun& run, std::vector<Segment>& out) const;

  Group raw_, normalized_;
  Regex word_;  // matches a word character
};

}  // namespace hadal
