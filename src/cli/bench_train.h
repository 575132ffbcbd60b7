// hadal bench train, added to hadal bench.
#pragma once

#include "cli/verbs.h"

namespace hadal {

void AddBenchTrain(CLI::App& bench, Action& action);

}  // namespace hadal
