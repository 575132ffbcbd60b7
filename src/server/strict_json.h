// JSON for texts that decide on access: what two parsers could read in two ways is refused.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/status.h"

namespace hadal {

/// The object that `text` holds. kDataLoss for anything but one JSON object in UTF-8: a member that stands
/// twice, a byte order mark, text after the end, numbers out of range, more than `max_depth` levels. The
/// sentence never quotes the text.
Result<nlohmann::json> ParseStrictObject(std::string_view text, int max_depth = 8);

}  // namespace hadal
