#include "model/weight_format.h"

#include <algorithm>

namespace hadal {
namespace {

bool IsInteger(WeightFormat format) { return format == WeightFormat::kInt8 || format == WeightFormat::kInt4; }

bool IsKeyValue(LinearRole role) {
  return role == LinearRole::kKeyValueUp || role == LinearRole::kKeyUpAbsorbed;
}

/// The integer bits that `options` ask of `role`; 0: as stored.
int ChosenBits(LinearRole role, const LoadOptions& options) {
  if (role == LinearRole::kRouter || options.weights == WeightChoice::kAsStored) return 0;
  return options.weights == WeightChoice::kInt8 || role != LinearRole::kBody ? 8 : 4;
}

bool FitsFp8Panels(const LinearSource& source) {
  return source.block_rows % kPanel == 0 && source.block_cols == kFp8Block;
}

/// A group is a multiple of 8; one wider than the row would only add padding.
int32_t ClipGroup(int64_t group, int64_t in) {
  return static_cast<int32_t>(std::min(group, (in + 7) / 8 * 8));
}

void KeepIntegers(const LinearSource& source, WeightFormat format, LinearWeight& w) {
  w.format = format;
  w.group = static_cast<int32_t>(source.block_cols);
  w.scales_bf16 = source.scales->dtype == DType::kBF16;
}

void QuantizeTo(int bits, int64_t group, LinearWeight& w) {
  w.format = bits == 8 ? WeightFormat::kInt8 : WeightFormat::kInt4;
  w.group = ClipGroup(group, w.in);
  w.scales_bf16 = true;  // QuantizeGroup's are
}

void ChooseWeightFormat(const LinearSource& source, LinearRole role, const LoadOptions& options,
                        LinearWeight& w) {
  const WeightFormat decoded =
      options.compute == ComputeMode::kF32 ? WeightFormat::kF32 : WeightFormat::kBF16;
  const int bits = ChosenBits(role, options);
  const int64_t group = bits > 0 ? options.group : source.block_cols;
  w.format = source.format;
  if (IsKeyValue(role)) {
    if (source.packed() || source.format == WeightFormat::kFp8) w.format = decoded;
  } else if (source.packed() && (bits == 0 || source.bits() <= bits)) {
    KeepIntegers(source, source.format, w);
  } else if (bits > 0) {
    QuantizeTo(bits, group, w);
  } else if (source.format == WeightFormat::kFp8 && !FitsFp8Panels(source)) {
    w.format = decoded;
  }
}

InputFormat ChooseInput(const LinearSource& source, LinearRole role, WeightFormat format,
                        const LoadOptions& options) {
  if (role == LinearRole::kRouter) return InputFormat::kF32;
  if (options.compute == ComputeMode::kF32) {
    const bool quantised = source.format == WeightFormat::kFp8 && role != LinearRole::kKeyUpAbsorbed;
    if (!quantised || options.activation_quantization == ActivationQuantization::kNone)
      return InputFormat::kF32;
    return options.activation_quantization == ActivationQuantization::kF32Scale ? InputFormat::kE4M3
                                                                                : InputFormat::kE4M3Pow2;
  }
  if (IsInteger(format)) return InputFormat::kInt8;
  const bool sixteen = format == WeightFormat::kBF16 || format == WeightFormat::kFp8;
  return sixteen ? InputFormat::kBF16 : InputFormat::kF32;
}

}  // namespace

Status CheckOptions(const LoadOptions& options, const ModelConfig& config) {
  if (options.group != 32 && options.group != 64 && options.group != 128)
    return InvalidArgument("a quantisation group of {} was asked for; it may be 32, 64 or 128",
                           options.group);
  if (options.mtp && config.num_nextn_predict_layers == 0)
    return Unsupported(
        "prediction layers (MTP) were asked for, and config.json's num_nextn_predict_layers is 0");
  if (options.activation_quantization == ActivationQuantization::kNone) return {};
  const QuantizationConfig& stored = config.quantization;
  if (options.compute != ComputeMode::kF32)
    return Unsupported(
        "activation quantisation needs f32 compute; it is for checks against other engines' numbers");
  if (options.weights != WeightChoice::kAsStored)
    return Unsupported("activation quantisation needs the weights as stored, and int8 or int4 was asked for");
  if (stored.method != QuantizationConfig::Method::kFp8)
    return Unsupported(
        "activation quantisation needs a folder of FP8 weights, which config.json says this is not");
  if (stored.block_cols != kFp8Block)
    return Unsupported("activation quantisation needs FP8 blocks of {} columns, config.json's have {}",
                       kFp8Block, stored.block_cols);
  return {};
}

LinearWeight ChooseFormat(const LinearSource& source, LinearRole role, int64_t out, int64_t in,
                          const LoadOptions& options) {
  LinearWeight w;
  w.out = out;
  w.in = in;
  ChooseWeightFormat(source, role, options, w);
  w.input = ChooseInput(source, role, w.format, options);
  return w;
}

}  // namespace hadal
