// Between training and model folders: parameters out of one, and a checkpoint into one that every engine loads.
#pragma once

#include <string>

#include "model/tensor_stream.h"
#include "train/checkpoint/checkpoint_reader.h"
#include "train/trainer.h"

namespace hadal::train {

/// Reads the parameters (router biases too) of a model folder, of any stored format, into this rank's part. Each rank
/// reads what it needs. Errors are those of Checkpoint::Open, FindLinear and WeightReader.
template <typename T>
Status LoadModelFolder(const Path& dir, Trainer<T>& trainer);

struct ExportOptions {
  Path checkpoint;               // a step's folder
  Path source;                   // the model folder that training began with: its config.json and companion files
  Path out;                      // new, or an empty folder
  std::string weights = "bf16";  // bf16, fp8, int8 or int4
  WriteProgress progress;        // may be null
};

/// Writes a checkpoint as a model folder in the Hugging Face layout; one process, whatever mesh wrote it. The folder
/// appears whole or not at all. kDataLoss: an element is missing.
Status ExportModelFolder(const ExportOptions& options, ThreadPool& pool);

}  // namespace hadal::train
