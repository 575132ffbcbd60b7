// Decoding token by token, for streams.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace hadal {

/// Turns ids into text as they come and holds back a character of which bytes are still missing. All that
/// Push and Finish return, one after the other, is what Tokenizer::Decode gives for all ids. Used by one
/// thread.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = false)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  /// The text that `id` makes certain, perhaps none. kInvalidArgument, and nothing changed: `id` names no
  /// token.
  Result<std::string> Push(int32_t id);

  /// The end of the text: U+FFFD if a character was left incomplete. Then a new text may begin.
  std::string Finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string pending_;  // 0 to 3 bytes, the beginning of a character
};

}  // namespace hadal
