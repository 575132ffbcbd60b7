// Whether the fields of a ModelConfig fit each other.
#pragma once

#include <string_view>

#include "model/config.h"

namespace hadal {

/// kInvalidArgument, with the arithmetic, if two fields do not fit or their product exceeds what hadal can
/// hold; kUnsupported if the routing is none of the family's. Every field is within its own bounds already.
Status CheckConfig(const ModelConfig& config, std::string_view name);

}  // namespace hadal
