// Files of text and JSONL become folders of token shards.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "train/data/input_files.h"

namespace hadal::train {

struct PrepareOptions {
  std::vector<Path> inputs;   // see ListInputs
  Path tokenizer;             // folder, see DocumentEncoder
  Path out;                   // for training
  Path held_out;              // for evaluation; used if held_out_share is above 0
  double held_out_share = 0;  // of the documents, chosen by a hash of (seed, the document's bytes)
  uint64_t seed = 0;
  TextDocuments text_documents = TextDocuments::kFile;
  bool skip_bad = false;  // leave documents out that cannot be used, instead of ending with an error
  int threads = 1;
  /// Bytes of input that become one shard; 0: 8 MiB, or less where there are few, so that threads share the
  /// work.
  uint64_t unit_bytes = 0;
  /// Told bytes of input done and of all, by one thread at a time; false ends the work with kCancelled.
  std::function<bool(uint64_t done, uint64_t total)> progress;
};

struct PrepareCounts {
  int64_t documents = 0, tokens = 0, learnt_tokens = 0, shards = 0;
  bool operator==(const PrepareCounts&) const = default;
};

struct PrepareReport {
  PrepareCounts training, held_out;
  int64_t skipped = 0;
  std::vector<std::string> skipped_examples;  // "FILE:LINE: why", a few
  int64_t reused_units = 0, units = 0;        // units that an earlier run had finished
  uint64_t input_bytes = 0;
};

/// Makes the shards, and an index.json beside them when all are there. What is written depends on the inputs
/// and options but not on threads or on how often the work was begun: each unit of input (input_files.h) has
/// its shard and then a record units/NNNNN.json, and a later run with the same inputs and options takes those
/// over whose input and shards are unchanged, by their checksums. One process at a time.
///
/// kFailedPrecondition: `out` holds something else, was begun with other inputs or options (named), or is in
/// use. kInvalidArgument: a document cannot be used: "FILE:LINE: why", the first by its place. kDataLoss: an
/// input changed meanwhile. kResourceExhausted: the disk is full; what is finished stays.
Result<PrepareReport> Prepare(const PrepareOptions& options);

}  // namespace hadal::train
