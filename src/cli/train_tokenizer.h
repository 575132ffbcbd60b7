// hadal train tokenizer.
#pragma once

#include "cli/verbs.h"

namespace hadal {

/// Adds the subcommand to the verb `train`.
void AddTrainTokenizer(CLI::App& train, Action& action);

}  // namespace hadal
