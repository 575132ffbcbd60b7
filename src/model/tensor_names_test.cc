#include "model/tensor_names.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "model/checkpoint.h"
#include "model/config_test_data.h"

namespace hadal {
namespace {

/// The golden folders hold exactly the expected tensors, in the expected shapes, and FP8's scales.
TEST(TensorNames, GoldenFoldersHoldExactlyTheExpectedTensors) {
  for (const char* name :
       {"v3-tiny-f32", "v3-tiny-bf16", "v3-tiny-fp8", "v3-tiny-mtp", "moonlight-tiny", "v2lite-tiny"}) {
    SCOPED_TRACE(name);
    const Path folder = Path(HADAL_TEST_DATA "/golden") / name;
    const auto config = LoadConfig(folder);
    ASSERT_TRUE(config) << config.error().message;
    const auto checkpoint = Checkpoint::Open(folder);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    std::set<std::string> expected;
    for (const TensorSpec& spec : ExpectedTensors(*config)) {
      EXPECT_TRUE(expected.insert(spec.name).second) << spec.name << " twice";
      const TensorInfo* found = (*checkpoint)->Find(spec.name);
      ASSERT_NE(found, nullptr) << spec.name;
      EXPECT_EQ(found->shape, spec.shape) << spec.name;
      if (found->dtype != DType::kF8E4M3) continue;
      EXPECT_EQ(spec.kind, TensorKind::kLinear) << spec.name << " is quantised";
      expected.insert(spec.name + "_scale_inv");
    }
    for (const TensorInfo& tensor : (*checkpoint)->tensors())
      EXPECT_TRUE(expected.contains(tensor.name)) << "not expected: " << tensor.name;
  }
}

std::map<std::string, TensorSpec> ByName(const ModelConfig& config) {
  std::map<std::string, TensorSpec> specs;
  for (TensorSpec& spec : ExpectedTensors(config)) specs.emplace(spec.name, spec);
  return specs;
}

TEST(TensorNames, KindsAndCopiesOfV3) {
  ModelConfig config = ParseConfig(kDeepseekV3Json, "config.json").value();
  auto specs = ByName(config);
  EXPECT_EQ(specs.at("model.layers.61.eh_proj.weight").kind, TensorKind::kMtpProjection);
  EXPECT_EQ(specs.at("model.layers.61.eh_proj.weight").shape, (std::vector<int64_t>{7168, 14336}));
  EXPECT_EQ(specs.at("model.layers.61.embed_tokens.weight").copy_of, "model.embed_tokens.weight");
  EXPECT_EQ(specs.at("model.layers.61.shared_head.head.weight").copy_of, "lm_head.weight");
  EXPECT_EQ(specs.at("model.layers.3.mlp.gate.weight").kind, TensorKind::kRouter);
  EXPECT_EQ(specs.at("model.layers.3.mlp.gate.e_score_correction_bias").kind, TensorKind::kRouterBias);
  EXPECT_EQ(specs.at("model.layers.0.self_attn.kv_b_proj.weight").shape, (std::vector<int64_t>{32768, 512}));
  EXPECT_EQ(LayerTensors(config, 2).size(), 12u);
  config.tie_word_embeddings = true;
  specs = ByName(config);
  EXPECT_FALSE(specs.contains("lm_head.weight"));
  EXPECT_EQ(specs.at("model.layers.61.shared_head.head.weight").copy_of, "model.embed_tokens.weight");
}

TEST(TensorNames, ToleratedExtras) {
  ModelConfig config = ParseConfig(kDeepseekV3Json, "config.json").value();
  EXPECT_TRUE(IsToleratedTensor(config, "model.layers.7.self_attn.rotary_emb.inv_freq"));
  EXPECT_FALSE(IsToleratedTensor(config, "model.layers.61.enorm.weight"));
  EXPECT_FALSE(IsToleratedTensor(config, "lm_head.bias"));
  config.num_nextn_predict_layers = 0;
  EXPECT_TRUE(IsToleratedTensor(config, "model.layers.61.enorm.weight"));
  EXPECT_FALSE(IsToleratedTensor(config, "model.layers.610.enorm.weight"));
  EXPECT_FALSE(IsToleratedTensor(config, "model.layers.62.enorm.weight"));
  EXPECT_FALSE(IsToleratedTensor(config, "lm_head.weight"));
  config.tie_word_embeddings = true;
  EXPECT_TRUE(IsToleratedTensor(config, "lm_head.weight"));
}

}  // namespace
}  // namespace hadal
