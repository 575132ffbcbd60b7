// hadal train prepare.
#pragma once

#include "cli/verbs.h"

namespace hadal {

/// Adds the subcommand to the verb `train`.
void AddTrainPrepare(CLI::App& train, Action& action);

}  // namespace hadal
