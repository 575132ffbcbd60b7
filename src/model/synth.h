// Model folders of a named shape with seeded random weights: for benchmarks and tests, where the real weights
// are too large to fetch or of no matter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "model/tensor_stream.h"

namespace hadal {

/// A file that says of a folder's weights that they are random, and which command made them: the model
/// computes as a real one does, and what it says means nothing.
inline constexpr const char* kRandomWeightsFile = "RANDOM_WEIGHTS";

struct SynthOptions {
  std::string shape;             // one of ShapeNames()
  std::string weights = "bf16";  // bf16, fp8, int8 or int4
  Path out;                      // new, or an empty folder
  uint64_t seed = 0;
  std::optional<int64_t> layers;  // keeps that many of the shape's
  WriteProgress progress;         // may be null
};

/// Writes a complete folder: config.json, generation_config.json, tokenizer.json, tokenizer_config.json with
/// a chat template, weights, kRandomWeightsFile. Every byte follows from shape, weights, layers and seed: not
/// from threads or machine.
///
/// The folder appears under its name when everything is on the disk; after an error or a stop it does not
/// appear. Memory is about 40 MB and one tensor's scales.
///
/// kNotFound: no such shape, or no folder to put it in. kInvalidArgument: no such format or number of layers.
/// kFailedPrecondition: `out` is not empty. kResourceExhausted: the disk has too little room, found before a
/// weight is written. kCancelled: the listener returned false.
Status Synthesize(const SynthOptions& options, ThreadPool& pool);

}  // namespace hadal
