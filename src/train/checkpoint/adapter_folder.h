// From a checkpoint of a run that trains adapters to their folder in the PEFT layout.
#pragma once

#include "base/file.h"
#include "train/lora.h"

namespace hadal::train {

/// Writes the adapters of a checkpoint (of any mesh) into the folder `out`, new or empty, which appears whole or not at
/// all. `source`: the model's folder. kInvalidArgument: the checkpoint is of other adapters. kDataLoss: an element is
/// missing.
Status ExportAdapter(const Path& checkpoint, const LoraOptions& lora, const Path& source, const Path& out);

/// Fingerprint of a model folder, as LoraOptions::base wants it.
Result<std::string> FolderFingerprint(const Path& dir);

}  // namespace hadal::train
