// Model shapes by name, for folders of random weights.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/config.h"

namespace hadal {

/// "deepseek-v3", "deepseek-v2-lite", "moonlight-16b-a3b", "kimi-k2", "v3-small", "v3-tiny".
std::span<const std::string_view> ShapeNames();

/// The shape of that name with unquantised weights. kNotFound names the nearest one and lists all.
Result<ModelConfig> NamedShape(std::string_view name);

/// What a folder with weights of `format` says of them: "bf16" (nothing), "fp8" (blocks of 128 x 128), "int8"
/// or "int4" (packed, a scale for each 32 values of a row: 8.5 and 4.5 bits a weight). kInvalidArgument for
/// any other.
Result<QuantizationConfig> QuantizationOfFormat(std::string_view format);

/// The text of a config.json for a named shape. `layers` keeps that many of its layers (1 to all); a model
/// that lost layers has no prediction layer either, for there is nothing it would predict.
Result<std::string> ShapeConfigJson(std::string_view name, std::optional<int64_t> layers,
                                    std::string_view format);

}  // namespace hadal
