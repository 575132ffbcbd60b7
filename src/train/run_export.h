// What a run leaves at its end: its last checkpoint as a model folder, and as a folder of adapters where it trained some.
#pragma once

#include "model/tensor_stream.h"
#include "train/lora.h"

namespace hadal::train {

struct RunExportOptions {
  Path checkpoint;         // a step's folder
  Path source;             // the model that training began with
  Path out;                // the run folder
  std::string weights;     // bf16, fp8, int8 or int4
  LoraOptions lora;        // off: none
  WriteProgress progress;  // may be null; false ends it
};

struct RunExport {
  Path model, adapter;  // adapter: empty without
};

/// Writes out/model, and out/adapter where adapters were trained. Folders of these names (of a run that this one goes on
/// from) get the first free name "NAME.before-N": nothing that was written once is removed. Each folder appears whole or
/// not at all. kCancelled: the listener said so.
Result<RunExport> ExportRun(const RunExportOptions& options, ThreadPool& pool);

}  // namespace hadal::train
