#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/weight_load_test_util.h"

namespace hadal {
namespace {

constexpr const char* kFolders[] = {"v3-tiny-f32",    "v3-tiny-bf16", "v3-tiny-fp8",
                                    "moonlight-tiny", "v2lite-tiny",  "v3-tiny-mtp"};

TEST(Weights, AreWhatTheFolderHolds) {
  for (const char* folder : kFolders) {
    SCOPED_TRACE(folder);
    const Model model = OpenGolden(folder);
    for (ComputeMode compute : {ComputeMode::kAuto, ComputeMode::kF32}) {
      LoadOptions options;
      options.compute = compute;
      options.mtp = model.config.num_nextn_predict_layers > 0;
      const auto weights = Load(model, options);
      ASSERT_TRUE(weights) << weights.error().message;
      EXPECT_EQ(weights->mtp.size(), static_cast<size_t>(model.config.num_nextn_predict_layers));
      for (const Located& located : LocateAll(model.config, *weights)) {
        const bool rounded =
            located.base.ends_with("kv_b_proj") && located.weight->format == WeightFormat::kBF16;
        ForSamples(model, located, 24, [&](double stored, float code, float scale, int64_t, int64_t) {
          const float value = static_cast<float>(stored);
          EXPECT_EQ(code * scale, rounded ? RoundToBF16(value) : value);
        });
      }
    }
  }
}

TEST(Weights, NormsBiasesAndEmbeddingAreWhatTheFolderHolds) {
  for (const char* folder : kFolders) {
    SCOPED_TRACE(folder);
    const Model model = OpenGolden(folder);
    const ModelConfig& c = model.config;
    LoadOptions options;
    options.mtp = c.num_nextn_predict_layers > 0;
    const auto weights = Load(model, options);
    ASSERT_TRUE(weights) << weights.error().message;
    const auto expect = [&](const std::string& name, const float* values, int64_t width) {
      ASSERT_NE(values, nullptr) << name;
      for (int64_t i = 0; i < width; ++i)
        ASSERT_EQ(values[i], StoredElement(*model.checkpoint, name, i)) << name;
    };
    const auto expect_layer = [&](int64_t index, const LayerWeights& layer) {
      const std::string prefix = fmt::format("model.layers.{}.", index);
      expect(prefix + "input_layernorm.weight", layer.attention_norm, c.hidden_size);
      expect(prefix + "post_attention_layernorm.weight", layer.ffn_norm, c.hidden_size);
      expect(prefix + "self_attn.kv_a_layernorm.weight", layer.attention.kv_norm, c.kv_lora_rank);
      if (c.q_lora_rank > 0)
        expect(prefix + "self_attn.q_a_layernorm.weight", layer.attention.q_norm, c.q_lora_rank);
      EXPECT_NE(layer.dense.has_value(), layer.moe.has_value());
      if (!layer.moe) return;
      EXPECT_EQ(layer.moe->bias != nullptr, c.topk_method == TopkMethod::kNoauxTc);
      if (layer.moe->bias)
        expect(prefix + "mlp.gate.e_score_correction_bias", layer.moe->bias, c.n_routed_experts);
    };
    expect("model.norm.weight", weights->final_norm, c.hidden_size);
    for (int64_t i = 0; i < c.num_hidden_layers; ++i)
      expect_layer(i, weights->layers[static_cast<size_t>(i)]);
    for (const MtpWeights& mtp : weights->mtp) {
      const std::string prefix = fmt::format("model.layers.{}.", c.num_hidden_layers);
      expect(prefix + "enorm.weight", mtp.embedding_norm, c.hidden_size);
      expect(prefix + "hnorm.weight", mtp.hidden_norm, c.hidden_size);
      expect(prefix + "shared_head.norm.weight", mtp.head_norm, c.hidden_size);
      expect_layer(c.num_hidden_layers, mtp.layer);
    }
    const TensorInfo& stored = *model.checkpoint->Find("model.embed_tokens.weight");
    EXPECT_EQ(weights->embedding.dtype, stored.dtype);
    std::vector<std::byte> scratch;
    const auto bytes = model.checkpoint->Read(stored, 0, stored.bytes, scratch);
    EXPECT_EQ(std::memcmp(weights->embedding.rows, bytes->data(), bytes->size()), 0);
  }
}

}  // namespace
}  // namespace hadal
