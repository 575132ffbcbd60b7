// What is asked: prompts of a wanted length, each different from the others, the same for the same seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace hadal {

/// A length, or a range to draw from evenly: "512", "128-1024".
struct LengthRange {
  int64_t least = 0, most = 0;
};
/// kInvalidArgument unless 1 <= least <= most <= 2^20.
Result<LengthRange> ParseLengthRange(const std::string& text);

struct PromptOptions {
  LengthRange input = {512, 512}, output = {128, 128};  // tokens
  int64_t shared_prefix = 0;                            // the first tokens, the same in all prompts
  uint64_t seed = 0;
};

/// The length of request `index`'s prompt and answer.
struct RequestLengths {
  int64_t input = 0, output = 0;
};
RequestLengths LengthsOf(const PromptOptions& options, uint64_t index);

/// `length` ids out of `alphabet` for request `index`.
std::vector<int32_t> PromptIds(const PromptOptions& options, uint64_t index, int64_t length,
                               const std::vector<int32_t>& alphabet);

/// About `words` short lower-case words, separated by blanks: how many tokens they are depends on the
/// tokenizer. `shared` of them are the same for all requests.
std::string PromptText(const PromptOptions& options, uint64_t index, int64_t words, int64_t shared);

}  // namespace hadal
