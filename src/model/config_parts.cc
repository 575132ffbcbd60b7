#include "model/config_parts.h"

#include "model/config_keys.h"

namespace hadal {
namespace {

constexpr double kMaxTheta = 1e12, kMaxFactor = 1e6, kMaxBeta = 1e6, kMaxMscale = 1e3;
constexpr int64_t kMaxContext = int64_t{1} << 31;

/// The fields of a rope_scaling or rope_parameters object, whatever its type.
Result<RopeConfig> ParseScaling(const JsonObject& scaling, RopeConfig rope) {
  static constexpr std::string_view kRead[] = {"type",
                                               "rope_type",
                                               "rope_theta",
                                               "factor",
                                               "beta_fast",
                                               "beta_slow",
                                               "mscale",
                                               "mscale_all_dim",
                                               "original_max_position_embeddings",
                                               "attention_factor",
                                               "truncate"};
  static constexpr std::string_view kIgnored[] = {"finetuned", "partial_rotary_factor"};
  // The type first: the keys of a scaling we do not have are no typing errors.
  ASSIGN_OR_RETURN(const std::string older, scaling.TextOr("type", "default"));
  ASSIGN_OR_RETURN(const std::string type, scaling.TextOr("rope_type", older));
  if (scaling.Has("type") && type != older)
    return InvalidArgument("{}: rope_type is '{}' and type is '{}'; remove one", scaling.where(), type,
                           older);
  if (type != "yarn" && type != "default")
    return Unsupported("{}: the type '{}' is not supported; expected 'yarn', 'default' or no scaling",
                       scaling.where(), type);
  RETURN_IF_ERROR(CheckKeys(scaling, kRead, kIgnored));
  ASSIGN_OR_RETURN(rope.theta, scaling.NumberOr("rope_theta", rope.theta, 1.001, kMaxTheta));
  if (type == "default") return rope;

  if (scaling.Has("attention_factor"))
    return Unsupported("{}: attention_factor is not supported; give mscale and mscale_all_dim",
                       scaling.where());
  ASSIGN_OR_RETURN(const bool truncate, scaling.BoolOr("truncate", true));
  if (!truncate) return Unsupported("{}: truncate false is not supported", scaling.where());
  rope.yarn = true;
  ASSIGN_OR_RETURN(rope.factor, scaling.Number("factor", 1, kMaxFactor));
  ASSIGN_OR_RETURN(rope.beta_fast, scaling.NumberOr("beta_fast", rope.beta_fast, 1e-3, kMaxBeta));
  ASSIGN_OR_RETURN(rope.beta_slow, scaling.NumberOr("beta_slow", rope.beta_slow, 1e-3, kMaxBeta));
  if (rope.beta_fast < rope.beta_slow)
    return InvalidArgument("{}: beta_fast {} is below beta_slow {}", scaling.where(), rope.beta_fast,
                           rope.beta_slow);
  ASSIGN_OR_RETURN(rope.mscale, scaling.NumberOr("mscale", rope.mscale, 0, kMaxMscale));
  ASSIGN_OR_RETURN(rope.mscale_all_dim,
                   scaling.NumberOr("mscale_all_dim", rope.mscale_all_dim, 0, kMaxMscale));
  ASSIGN_OR_RETURN(rope.original_max_position_embeddings,
                   scaling.Int("original_max_position_embeddings", 1, kMaxContext));
  return rope;
}

/// A text option that has one value we support; absent counts as that value.
Status Expect(const JsonObject& object, std::string_view key, std::string_view expected) {
  ASSIGN_OR_RETURN(const std::string found, object.TextOr(key, expected));
  if (found != expected)
    return Unsupported("{}: {} '{}' is not supported; expected '{}'", object.where(), key, found, expected);
  return {};
}

Status ExpectNull(const JsonObject& object, std::string_view key) {
  if (object.Has(key))
    return Unsupported("{}: {} {} is not supported; expected null", object.where(), key, object.Written(key));
  return {};
}

Result<QuantizationConfig> ParseFp8(const JsonObject& fp8) {
  static constexpr std::string_view kRead[] = {"quant_method", "fmt", "weight_block_size",
                                               "activation_scheme", "scale_fmt"};
  static constexpr std::string_view kIgnored[] = {"modules_to_not_convert", "ignored_layers", "dequantize"};
  RETURN_IF_ERROR(CheckKeys(fp8, kRead, kIgnored));
  RETURN_IF_ERROR(Expect(fp8, "fmt", "e4m3"));
  RETURN_IF_ERROR(Expect(fp8, "activation_scheme", "dynamic"));
  RETURN_IF_ERROR(Expect(fp8, "scale_fmt", "ue8m0"));
  if (!fp8.Has("weight_block_size"))
    return Unsupported("{}: no weight_block_size: FP8 with one scale per tensor is not supported",
                       fp8.where());
  ASSIGN_OR_RETURN(const std::vector<int64_t> block, fp8.Ints("weight_block_size", 1, 1 << 16, 3));
  if (block.size() != 2)
    return InvalidArgument("{}: weight_block_size is {}, expected [rows, columns]", fp8.where(),
                           fp8.Written("weight_block_size"));
  QuantizationConfig result;
  result.method = QuantizationConfig::Method::kFp8;
  result.block_rows = block[0];
  result.block_cols = block[1];
  result.ue8m0_scales = fp8.Has("scale_fmt");
  return result;
}

/// weights of a config group: which integers, and what shares a scale.
Result<QuantizationConfig> ParsePackedWeights(const JsonObject& weights) {
  static constexpr std::string_view kRead[] = {"num_bits",   "type",     "symmetric", "strategy",
                                               "group_size", "actorder", "dynamic",   "block_structure"};
  static constexpr std::string_view kIgnored[] = {"observer", "observer_kwargs", "scale_dtype", "zp_dtype"};
  RETURN_IF_ERROR(CheckKeys(weights, kRead, kIgnored));
  RETURN_IF_ERROR(Expect(weights, "type", "int"));
  RETURN_IF_ERROR(Expect(weights, "strategy", "group"));
  RETURN_IF_ERROR(ExpectNull(weights, "actorder"));
  RETURN_IF_ERROR(ExpectNull(weights, "block_structure"));
  ASSIGN_OR_RETURN(const bool symmetric, weights.BoolOr("symmetric", true));
  if (!symmetric) return Unsupported("{}: symmetric false (zero points) is not supported", weights.where());
  ASSIGN_OR_RETURN(const bool dynamic, weights.BoolOr("dynamic", false));
  if (dynamic) return Unsupported("{}: dynamic true is not supported for weights", weights.where());
  QuantizationConfig result;
  result.method = QuantizationConfig::Method::kCompressedTensors;
  ASSIGN_OR_RETURN(const int64_t bits, weights.Int("num_bits", 1, 64));
  if (bits != 4 && bits != 8)
    return Unsupported("{}: num_bits {} is not supported; expected 4 or 8", weights.where(), bits);
  result.bits = static_cast<int>(bits);
  ASSIGN_OR_RETURN(result.group_size, weights.Int("group_size", -1, 1 << 20));
  if (result.group_size != 32 && result.group_size != 64 && result.group_size != 128)
    return Unsupported("{}: group_size {} is not supported; expected 32, 64 or 128", weights.where(),
                       result.group_size);
  return result;
}

Result<QuantizationConfig> ParseCompressedTensors(const JsonObject& compressed) {
  // The library writes more keys with every version; those that change the meaning are checked by name.
  RETURN_IF_ERROR(Expect(compressed, "format", "pack-quantized"));
  RETURN_IF_ERROR(ExpectNull(compressed, "kv_cache_scheme"));
  for (std::string_view key : {"sparsity_config", "transform_config"}) {
    if (!compressed.Has(key)) continue;
    ASSIGN_OR_RETURN(const JsonObject part, compressed.Object(key));
    if (part.Keys().empty()) continue;
    if (key == "sparsity_config" && part.TextOr("format", "") == std::string("dense")) continue;
    return Unsupported("{} {} is not supported", part.where(), compressed.Written(key));
  }
  ASSIGN_OR_RETURN(const JsonObject groups, compressed.Object("config_groups"));
  const std::vector<std::string_view> names = groups.Keys();
  if (names.size() != 1)
    return Unsupported("{}: {} groups are not supported; expected one", groups.where(), names.size());
  ASSIGN_OR_RETURN(const JsonObject group, groups.Object(names[0]));
  RETURN_IF_ERROR(Expect(group, "format", "pack-quantized"));
  RETURN_IF_ERROR(ExpectNull(group, "input_activations"));
  RETURN_IF_ERROR(ExpectNull(group, "output_activations"));
  ASSIGN_OR_RETURN(const JsonObject weights, group.Object("weights"));
  return ParsePackedWeights(weights);
}

}  // namespace

Result<RopeConfig> ParseRope(const JsonObject& config) {
  RopeConfig rope;
  ASSIGN_OR_RETURN(rope.theta, config.NumberOr("rope_theta", rope.theta, 1.001, kMaxTheta));
  const bool scaling = config.Has("rope_scaling"), parameters = config.Has("rope_parameters");
  if (scaling && parameters)
    return InvalidArgument("{}: both rope_scaling and rope_parameters; keep one", config.where());
  if (!scaling && !parameters) return rope;
  ASSIGN_OR_RETURN(const JsonObject object, config.Object(scaling ? "rope_scaling" : "rope_parameters"));
  return ParseScaling(object, rope);
}

Result<QuantizationConfig> ParseQuantization(const JsonObject& quantization) {
  ASSIGN_OR_RETURN(const std::string method, quantization.Text("quant_method"));
  if (method == "fp8") return ParseFp8(quantization);
  if (method == "compressed-tensors") return ParseCompressedTensors(quantization);
  return Unsupported("{}: quant_method '{}' is not supported; expected 'fp8' or 'compressed-tensors'",
                     quantization.where(), method);
}

}  // namespace hadal
