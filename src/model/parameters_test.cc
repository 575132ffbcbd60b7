#include "model/parameters.h"

#include <gtest/gtest.h>

#include "model/config_test_data.h"
#include "model/shapes.h"
#include "model/tensor_names.h"

namespace hadal {
namespace {

ModelConfig Shape(std::string_view name) { return NamedShape(name).value(); }

TEST(Parameters, V3ToTheUnit) {
  const ModelConfig v3 = ParseConfig(kDeepseekV3Json, "config.json").value();
  const ParameterCounts n = CountParameters(v3);
  EXPECT_EQ(n.attention, 187'107'328);
  EXPECT_EQ(n.dense_network, 396'361'728);
  EXPECT_EQ(n.expert, 44'040'192);
  EXPECT_EQ(n.router, 1'835'008 + 256);
  EXPECT_EQ(n.moe_layer, 11'507'286'272);
  EXPECT_EQ(n.dense_layer, 583'483'392);
  EXPECT_EQ(n.dense_layers, 3);
  EXPECT_EQ(n.moe_layers, 58);
  EXPECT_EQ(n.embedding, 926'679'040);
  EXPECT_EQ(n.head, 926'679'040);
  EXPECT_EQ(n.main, 671'026'419'200);
  EXPECT_EQ(n.routed_experts, 653'908'770'816);
  EXPECT_EQ(n.mtp, 11'610'068'224);
  EXPECT_EQ(n.active_without_embedding, 36'625'618'432);
  EXPECT_EQ(n.active, 37'552'297'472);
}

TEST(Parameters, V3StoredAsReleased) {
  ModelConfig v3 = ParseConfig(kDeepseekV3Json, "config.json").value();
  const StoredCounts stored = CountStored(v3);
  EXPECT_EQ(stored.f8, 680'571'043'840);
  EXPECT_EQ(stored.bf16, 3'918'786'560);
  EXPECT_EQ(stored.f32, 41'555'600);
  EXPECT_EQ(stored.elements(), 684'531'386'000);
  EXPECT_NEAR(stored.bytes / 1e9, 688.57, 0.01);
  v3.num_nextn_predict_layers = 0;
  EXPECT_NEAR(CountStored(v3).bytes / 1e9, 673.15, 0.01);
  v3.quantization = {};
  EXPECT_NEAR(CountStored(v3).bytes / 1e9, 1342.1, 0.1);
}

TEST(Parameters, OfTheFamily) {
  EXPECT_NEAR(CountParameters(Shape("kimi-k2")).main / 1e12, 1.0264, 5e-5);
  EXPECT_NEAR(CountParameters(Shape("kimi-k2")).active_without_embedding / 1e9, 31.69, 5e-3);
  EXPECT_NEAR(CountParameters(Shape("moonlight-16b-a3b")).main / 1e9, 15.96, 5e-3);
  EXPECT_NEAR(CountParameters(Shape("moonlight-16b-a3b")).active_without_embedding / 1e9, 2.579, 5e-4);
  EXPECT_NEAR(CountParameters(Shape("deepseek-v2-lite")).main / 1e9, 15.71, 5e-3);
  EXPECT_NEAR(CountParameters(Shape("deepseek-v2-lite")).active_without_embedding / 1e9, 2.451, 5e-4);
  EXPECT_NEAR(CountParameters(Shape("v3-small")).active_without_embedding / 1e6, 124, 0.6);
}

/// The closed forms and the list of tensors are two roads to the same number.
TEST(Parameters, AgreeWithTheTensors) {
  for (std::string_view name : ShapeNames()) {
    for (bool tied : {false, true}) {
      SCOPED_TRACE(std::string(name) + (tied ? ", tied" : ""));
      ModelConfig config = Shape(name);
      config.tie_word_embeddings = tied;
      int64_t main = 0, mtp = 0;
      for (const TensorSpec& spec : ExpectedTensors(config)) {
        const bool prediction = spec.name.starts_with(LayerPrefix(config.num_hidden_layers));
        if (spec.copy_of.empty()) (prediction ? mtp : main) += spec.Elements();
      }
      const ParameterCounts n = CountParameters(config);
      EXPECT_EQ(n.main, main);
      EXPECT_EQ(n.mtp, mtp);
      EXPECT_EQ(n.active - n.active_without_embedding, tied ? 0 : n.embedding);
    }
  }
}

TEST(Parameters, LatentCache) {
  EXPECT_EQ(KvBytesPerToken(Shape("deepseek-v3"), 2), 70'272);
  EXPECT_EQ(KvBytesPerToken(Shape("deepseek-v3"), 1), 35'136);
}

TEST(Parameters, PackedFormatsTakeTheirBits) {
  ModelConfig config = Shape("v3-small");
  const int64_t plain = CountStored(config).bytes;
  config.quantization = QuantizationOfFormat("int4").value();
  const StoredCounts int4 = CountStored(config);
  // 4.5 bits for every linear, 16 for the rest: embedding, head and little else.
  const int64_t rest = 2 * 32768 * 1024 + 7 * 32 * 1024 + (2 * 8 + 1) * 1024 + 8 * (384 + 256);
  const int64_t bias = 7 * 32;
  const int64_t linear = (plain - 2 * rest - 4 * bias) / 2;
  const int64_t matrices = 8 * 5 + 3 + 7 * 3 * 33;
  EXPECT_EQ(int4.bytes, linear * 9 / 16 + 2 * rest + 4 * bias + 8 * matrices);
}

}  // namespace
}  // namespace hadal
