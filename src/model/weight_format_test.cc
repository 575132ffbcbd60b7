#include "model/weight_format.h"

#include <gtest/gtest.h>

#include "model/safetensors_test_util.h"

namespace hadal {
namespace {

constexpr LinearRole kRoles[] = {LinearRole::kBody, LinearRole::kHead, LinearRole::kRouter,
                                 LinearRole::kKeyValueUp, LinearRole::kKeyUpAbsorbed};

/// A source of a format, without tensors but for its scales' dtype.
class Source {
 public:
  explicit Source(WeightFormat format, DType scale = DType::kBF16) : scales_{"scales", scale, {}} {
    source.format = format;
    if (format == WeightFormat::kFp8) source.block_rows = source.block_cols = 128;
    if (source.packed()) source.block_rows = 1, source.block_cols = 64;
    if (format == WeightFormat::kFp8 || source.packed()) source.scales = &scales_;
  }
  LinearSource source;

 private:
  TensorInfo scales_;
};

LinearWeight Choose(const LinearSource& source, LinearRole role, const LoadOptions& options = {},
                    int64_t in = 256) {
  return ChooseFormat(source, role, 64, in, options);
}

TEST(WeightFormat, AsStoredKeepsWhatAPanelCanHold) {
  for (WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
    for (LinearRole role : kRoles) {
      const LinearWeight w = Choose(Source(format).source, role);
      EXPECT_EQ(w.format, format);
      const bool bf16 = format == WeightFormat::kBF16 && role != LinearRole::kRouter;
      EXPECT_EQ(w.input, bf16 ? InputFormat::kBF16 : InputFormat::kF32);
    }
  }
  for (WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (DType scale : {DType::kBF16, DType::kF16, DType::kF32}) {
      const Source stored(format, scale);
      const LinearWeight w = Choose(stored.source, LinearRole::kBody);
      EXPECT_EQ(w.format, format);
      EXPECT_EQ(w.group, 64);
      EXPECT_EQ(w.scales_bf16, scale == DType::kBF16);
      EXPECT_EQ(w.input, InputFormat::kInt8);
    }
  }
}

TEST(WeightFormat, Fp8NeedsBlocksThatHoldWholePanels) {
  LoadOptions f32;
  f32.compute = ComputeMode::kF32;
  Source stored(WeightFormat::kFp8);
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody).format, WeightFormat::kFp8);
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody).input, InputFormat::kBF16);
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody, f32).format, WeightFormat::kFp8);
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody, f32).input, InputFormat::kF32);
  for (LinearRole role : {LinearRole::kKeyValueUp, LinearRole::kKeyUpAbsorbed}) {
    EXPECT_EQ(Choose(stored.source, role).format, WeightFormat::kBF16);
    EXPECT_EQ(Choose(stored.source, role, f32).format, WeightFormat::kF32);
  }
  stored.source.block_rows = 16;
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody).format, WeightFormat::kFp8);
  for (const auto& [rows, cols] : {std::pair{8, 128}, {128, 64}, {128, 256}, {1, 128}}) {
    stored.source.block_rows = rows;
    stored.source.block_cols = cols;
    EXPECT_EQ(Choose(stored.source, LinearRole::kBody).format, WeightFormat::kBF16) << rows << " x " << cols;
    EXPECT_EQ(Choose(stored.source, LinearRole::kBody, f32).format, WeightFormat::kF32)
        << rows << " x " << cols;
  }
}

TEST(WeightFormat, ChosenIntegersByRole) {
  LoadOptions options;
  options.group = 128;
  for (WeightFormat format : {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kFp8}) {
    const Source stored(format);
    for (LinearRole role : kRoles) {
      options.weights = WeightChoice::kInt8;
      const LinearWeight eight = Choose(stored.source, role, options);
      options.weights = WeightChoice::kInt4;
      const LinearWeight four = Choose(stored.source, role, options);
      if (role == LinearRole::kRouter) {
        EXPECT_EQ(eight.format, format);
        EXPECT_EQ(four.format, format);
        EXPECT_EQ(four.input, InputFormat::kF32);
        continue;
      }
      if (role == LinearRole::kKeyValueUp || role == LinearRole::kKeyUpAbsorbed) {  // never quantised
        EXPECT_EQ(eight.format, format == WeightFormat::kFp8 ? WeightFormat::kBF16 : format);
        EXPECT_EQ(four.format, eight.format);
        continue;
      }
      EXPECT_EQ(eight.format, WeightFormat::kInt8);
      EXPECT_EQ(four.format, role == LinearRole::kBody ? WeightFormat::kInt4 : WeightFormat::kInt8);
      EXPECT_EQ(four.group, 128);
      EXPECT_TRUE(four.scales_bf16);
      EXPECT_EQ(four.input, InputFormat::kInt8);
    }
  }
}

TEST(WeightFormat, AGroupIsNoWiderThanTheRowAndAMultipleOfEight) {
  LoadOptions options;
  options.weights = WeightChoice::kInt8;
  const Source stored(WeightFormat::kBF16);
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody, options, 16).group, 16);
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody, options, 13).group, 16);
  EXPECT_EQ(Choose(stored.source, LinearRole::kBody, options, 33).group, 32);
}

TEST(WeightFormat, IntegersAreNeverWidenedNorQuantisedTwiceForNothing) {
  LoadOptions options;
  const Source four(WeightFormat::kInt4, DType::kF32), eight(WeightFormat::kInt8, DType::kF32);
  options.weights = WeightChoice::kInt8;
  EXPECT_EQ(Choose(four.source, LinearRole::kBody, options).format, WeightFormat::kInt4);
  EXPECT_EQ(Choose(four.source, LinearRole::kBody, options).group, 64);
  EXPECT_EQ(Choose(eight.source, LinearRole::kBody, options).group, 64);
  options.weights = WeightChoice::kInt4;
  EXPECT_EQ(Choose(four.source, LinearRole::kHead, options).format, WeightFormat::kInt4);
  EXPECT_EQ(Choose(eight.source, LinearRole::kHead, options).format, WeightFormat::kInt8);
  EXPECT_EQ(Choose(eight.source, LinearRole::kHead, options).group, 64);
  EXPECT_EQ(Choose(eight.source, LinearRole::kBody, options).format, WeightFormat::kInt4);
  EXPECT_EQ(Choose(eight.source, LinearRole::kBody, options).group, 32);
  // The key/value up-projection is decoded: both forms of attention then read the same numbers.
  for (LinearRole role : {LinearRole::kKeyValueUp, LinearRole::kKeyUpAbsorbed}) {
    EXPECT_EQ(Choose(four.source, role).format, WeightFormat::kBF16);
    options.compute = ComputeMode::kF32;
    EXPECT_EQ(Choose(four.source, role, options).format, WeightFormat::kF32);
  }
}

TEST(WeightFormat, ActivationQuantisationReachesFp8LinearsButNotTheAbsorbedForm) {
  LoadOptions options;
  options.compute = ComputeMode::kF32;
  const Source fp8(WeightFormat::kFp8), bf16(WeightFormat::kBF16);
  for (const auto& [choice, input] : {std::pair{ActivationQuantization::kF32Scale, InputFormat::kE4M3},
                                      {ActivationQuantization::kPowerOfTwoScale, InputFormat::kE4M3Pow2}}) {
    options.activation_quantization = choice;
    EXPECT_EQ(Choose(fp8.source, LinearRole::kBody, options).input, input);
    EXPECT_EQ(Choose(fp8.source, LinearRole::kKeyValueUp, options).input, input);
    EXPECT_EQ(Choose(fp8.source, LinearRole::kKeyUpAbsorbed, options).input, InputFormat::kF32);
    EXPECT_EQ(Choose(bf16.source, LinearRole::kBody, options).input, InputFormat::kF32);
  }
}

TEST(WeightFormat, RefusesOptionsThatDoNotFit) {
  ModelConfig config;
  LoadOptions options;
  EXPECT_TRUE(CheckOptions(options, config));
  options.group = 48;
  ExpectError(CheckOptions(options, config), Code::kInvalidArgument, "48");
  options = {};
  options.mtp = true;
  ExpectError(CheckOptions(options, config), Code::kUnsupported, "num_nextn_predict_layers is 0");
  options = {};
  options.activation_quantization = ActivationQuantization::kF32Scale;
  config.quantization.method = QuantizationConfig::Method::kFp8;
  ExpectError(CheckOptions(options, config), Code::kUnsupported, "f32 compute");
  options.compute = ComputeMode::kF32;
  EXPECT_TRUE(CheckOptions(options, config));
  options.weights = WeightChoice::kInt8;
  ExpectError(CheckOptions(options, config), Code::kUnsupported, "as stored");
  options.weights = WeightChoice::kAsStored;
  config.quantization.block_cols = 64;
  ExpectError(CheckOptions(options, config), Code::kUnsupported, "128 columns");
  config.quantization.method = QuantizationConfig::Method::kNone;
  ExpectError(CheckOptions(options, config), Code::kUnsupported, "FP8");
}

}  // namespace
}  // namespace hadal
