// A tokenizer folder from files of text and JSONL.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal::train {

struct TokenizerTrainerOptions {
  std::vector<Path> inputs;          // see ListInputs; of chats every text counts, of a .txt the whole file
  Path out;                          // folder to make
  int64_t vocab_size = 32768;        // at most, special tokens and the 256 bytes included
  int64_t min_count = 2;             // a pair that occurs less often becomes no token
  int digits = 3;                    // in a piece, 1 to 3
  std::vector<std::string> special;  // more of them, behind DefaultSpecialTokens
  std::string chat_template;         // empty: DefaultChatTemplate
  bool skip_bad = false;             // leave lines out that cannot be read
  int threads = 1;
  /// Told what is done, how much and of how much, by one thread at a time; false ends the work.
  std::function<bool(const char* what, uint64_t done, uint64_t total)> progress;
};

struct TokenizerReport {
  int64_t vocab_size = 0, merges = 0;
  int64_t pieces = 0, distinct_pieces = 0;  // of the texts
  uint64_t text_bytes = 0;
  int64_t skipped = 0;
};

/// Writes tokenizer.json and tokenizer_config.json into a new or empty folder, or where only these two and
/// config.json are. The files depend on the inputs and options, not on threads. Fewer tokens than asked for
/// come out where no pair is left that occurs min_count times. kFailedPrecondition: other files are in `out`.
/// kInvalidArgument: a size that makes no sense, a chat template that does not parse, a bad line ("FILE:LINE:
/// why"), no text. kCancelled.
Result<TokenizerReport> TrainTokenizer(const TokenizerTrainerOptions& options);

}  // namespace hadal::train
