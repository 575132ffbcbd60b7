// The parts of config.json that are objects of their own: rotary embedding and quantisation.
#pragma once

#include "model/config.h"
#include "model/json_object.h"

namespace hadal {

/// Reads rope_theta with rope_scaling, or the newer rope_parameters that hold both, of a whole config.json.
/// kUnsupported: a scaling other than YaRN, by name.
Result<RopeConfig> ParseRope(const JsonObject& config);

/// Reads a quantization_config: fp8 with block scales, or compressed-tensors' pack-quantized integers.
/// kUnsupported: any other method or option, by name.
Result<QuantizationConfig> ParseQuantization(const JsonObject& quantization);

}  // namespace hadal
