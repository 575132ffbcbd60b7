#include "model/shapes.h"

#include <gmock/gmock.h>

#include "model/config_test_data.h"
#include "model/config_writer.h"
#include "model/parameters.h"
#include "model/tensor_names.h"

namespace hadal {
namespace {

using testing::HasSubstr;

ModelConfig Parsed(std::string_view json) {
  const auto config = ParseConfig(json, "config.json");
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(ModelConfig());
}

TEST(Shapes, AreThePublishedModels) {
  EXPECT_EQ(Parsed(ShapeConfigJson("deepseek-v3", {}, "fp8").value()), Parsed(kDeepseekV3Json));
  EXPECT_EQ(Parsed(ShapeConfigJson("moonlight-16b-a3b", {}, "bf16").value()), Parsed(kMoonlightJson));
  EXPECT_EQ(Parsed(ShapeConfigJson("deepseek-v2-lite", {}, "bf16").value()), Parsed(kDeepseekV2LiteJson));
  EXPECT_EQ(Parsed(ShapeConfigJson("kimi-k2", {}, "fp8").value()), Parsed(kKimiK2Json));
}

TEST(Shapes, EveryTextReadsBackAsItsShape) {
  for (std::string_view name : ShapeNames()) {
    for (const char* format : {"bf16", "fp8", "int8", "int4"}) {
      SCOPED_TRACE(std::string(name) + " " + format);
      ModelConfig want = NamedShape(name).value();
      want.quantization = QuantizationOfFormat(format).value();
      EXPECT_EQ(Parsed(ShapeConfigJson(name, {}, format).value()), want);
      for (const TensorSpec& spec : LayerTensors(want, want.num_hidden_layers - 1)) {
        if (spec.kind != TensorKind::kLinear) continue;
        EXPECT_EQ(spec.shape[1] % 32, 0) << spec.name << " does not pack";
      }
    }
  }
}

TEST(Shapes, TruncationDropsThePredictionLayer) {
  const ModelConfig two = Parsed(ShapeConfigJson("deepseek-v3", 2, "bf16").value());
  EXPECT_EQ(two.num_hidden_layers, 2);
  EXPECT_EQ(two.first_k_dense_replace, 2);
  EXPECT_EQ(two.num_nextn_predict_layers, 0);
  EXPECT_EQ(Parsed(ShapeConfigJson("deepseek-v3", 61, "bf16").value()).num_nextn_predict_layers, 1);
  EXPECT_FALSE(ShapeConfigJson("deepseek-v3", 0, "bf16"));
  EXPECT_FALSE(ShapeConfigJson("deepseek-v3", 62, "bf16"));
}

TEST(Shapes, TinyIsTiny) {
  const int64_t bytes = CountStored(NamedShape("v3-tiny").value()).bytes;
  EXPECT_GT(bytes, 5'000'000);
  EXPECT_LT(bytes, 10'000'000);
}

TEST(Shapes, UnknownNamesNameTheNearest) {
  const auto shape = NamedShape("deepsek-v3");
  ASSERT_FALSE(shape);
  EXPECT_THAT(shape.error().message, HasSubstr("the nearest is 'deepseek-v3'"));
  EXPECT_THAT(QuantizationOfFormat("int3").error().message, HasSubstr("bf16, fp8, int8 or int4"));
}

TEST(ConfigWriter, ReplacesOnlyTheQuantization) {
  const QuantizationConfig int4 = QuantizationOfFormat("int4").value();
  const auto text = ReplaceQuantization(kDeepseekV3Json, int4);
  ASSERT_TRUE(text) << text.error().message;
  ModelConfig want = Parsed(kDeepseekV3Json);
  want.quantization = int4;
  EXPECT_EQ(Parsed(*text), want);
  EXPECT_THAT(*text, HasSubstr("aux_loss_alpha"));
  want.quantization = {};
  const auto plain = ReplaceQuantization(*text, {});
  EXPECT_EQ(Parsed(plain.value()), want);
  EXPECT_THAT(plain.value(), testing::Not(HasSubstr("quantization_config")));
  EXPECT_FALSE(ReplaceQuantization("{", int4));
}

}  // namespace
}  // namespace hadal
