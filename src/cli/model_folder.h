// Which model folder is meant.
#pragma once

#include <string>

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// The folder `given` (the flag --model or HADAL_MODEL), which must exist. If it is empty, the default model:
/// the first that is there of models/default in $HADAL_HOME, beside the program, one level above it, in share/hadal
/// there, and in $XDG_DATA_HOME/hadal (~/.local/share/hadal). A build folder has a link to the repository's. kNotFound
/// names the places.
Result<Path> FindModelFolder(const std::string& given);

/// Whether the folder has a kRandomWeightsFile; 'hadal convert' copies it with the rest.
bool HasRandomWeights(const Path& folder);

}  // namespace hadal
