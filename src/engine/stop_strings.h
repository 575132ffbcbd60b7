// Stop strings: end a streamed text before the first of them, wherever the borders of the pieces lie.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hadal {

// OpenAI allows 4. Each text byte costs a step per stop string, so the number must be bounded; the length
// bounds how much text is held back.
inline constexpr int64_t kMaxStopStrings = 64;
inline constexpr int64_t kMaxStopStringBytes = 1024;

/// kInvalidArgument: more than kMaxStopStrings, an empty one, or one longer than kMaxStopStringBytes.
Status ValidateStopStrings(const std::vector<std::string>& stops);

/// Watches a text that comes in pieces for stop strings and holds back only what may be the beginning of one.
///
/// The text ends where a stop string first becomes complete (the earliest end wins, since a stream can't wait
/// for a longer one); of those complete at the same byte the longest wins, and the text before it is the
/// output. So the output as a whole is a function of the text alone, not of how it was cut. Pieces of whole
/// UTF-8 characters give whole characters, if the stop strings are UTF-8. Used by one thread.
class StopStrings {
 public:
  struct Out {
    std::string text;         // may be shown now
    bool stopped = false;     // a stop string is complete: generate no more
    int32_t stop_index = -1;  // the one that is, by its place in the list
  };

  /// Refuses what ValidateStopStrings refuses.
  static Result<StopStrings> Create(std::vector<std::string> stops);

  /// The text that `piece` makes certain. Once stopped, further pieces give no text and stopped again.
  Out Push(std::string_view piece);

  /// The end of the text: what was held back; nothing if stopped. Then a new text may begin.
  std::string Flush();

 private:
  /// A stop string with its automaton (Knuth, Morris and Pratt 1977).
  struct Pattern {
    std::string text;
    std::vector<uint16_t> border;  // [i]: longest proper prefix of text[0, i] that ends it too
    size_t matched = 0;            // the longest prefix of `text` that the text so far ends with
    void Advance(char byte);
  };
  explicit StopStrings(std::vector<std::string> stops);
  const Pattern* AdvanceAll(char byte, size_t& longest);

  std::vector<Pattern> patterns_;
  std::string held_;  // below kMaxStopStringBytes between calls
  int32_t stop_index_ = -1;
};

}  // namespace hadal
