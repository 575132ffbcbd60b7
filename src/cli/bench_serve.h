// hadal bench serve and hadal bench soak, added to hadal bench.
#pragma once

#include "cli/verbs.h"

namespace hadal {

void AddBenchServe(CLI::App& bench, Action& action);
void AddBenchSoak(CLI::App& bench, Action& action);

}  // namespace hadal
