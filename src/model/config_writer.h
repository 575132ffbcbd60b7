// Writes config.json texts: whole ones from a ModelConfig, or an existing one with another weight format.
#pragma once

#include <string>
#include <string_view>

#include "model/config.h"

namespace hadal {

/// A config.json, in the published files' keys, that ParseConfig reads back as `config`. Indented, ends in a
/// newline.
std::string ConfigJson(const ModelConfig& config);

/// The same text with quantization_config put in place of what stood there (or removed, for kNone) and every
/// other key kept, also those that hadal does not read. Errors are JsonDocument::Parse's.
Result<std::string> ReplaceQuantization(std::string_view json, const QuantizationConfig& quantization);

}  // namespace hadal
