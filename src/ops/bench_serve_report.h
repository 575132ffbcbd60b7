// What hadal bench serve prints: a table for people, JSON for programs.
#pragma once

#include <string>

#include "ops/bench_serve.h"

namespace hadal {

/// One JSON object with a newline. Times in milliseconds, rates per second; `points` in the order measured.
std::string ServeBenchJson(const ServeBenchReport& report);

std::string ServeBenchTable(const ServeBenchReport& report);

}  // namespace hadal
