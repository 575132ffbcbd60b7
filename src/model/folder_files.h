// What stands in a model folder beside config.json and weights.
#pragma once

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// Copies tokenizer, templates, generation_config.json, licence and so on from one model folder to another: every
/// regular file that is neither config.json nor weights in any container. Subfolders stay.
Status CopyCompanionFiles(const Path& from, const Path& to);

}  // namespace hadal
