// The points of a run as a picture.
#pragma once

#include <string>

#include "ops/bench_serve.h"

namespace hadal {

/// An SVG that needs nothing else (no script, no font, no link): tokens and requests a second, time to the
/// first token and per token after it, over concurrency or rate; of times the percentiles 50, 90 and 99.
std::string ServeBenchSvg(const ServeBenchReport& report);

}  // namespace hadal
