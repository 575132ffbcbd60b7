#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "model/safetensors_test_util.h"
#include "model/weight_test_util.h"

namespace hadal {
namespace {

constexpr const char* kFolders[] = {"v3-tiny-f32",    "v3-tiny-bf16", "v3-tiny-fp8",
                                    "moonlight-tiny", "v2lite-tiny",  "v3-tiny-mtp"};

/// A Linear and where its elements stand: element (o, k) is row first_row + o, column k, or transposed the
/// reverse.
struct Located {
  std::string base;
  const LinearWeight* weight;
  int64_t source_in;
  int64_t first_row = 0;
  bool transposed = false;
};

struct Model {
  ModelConfig config;
  std::unique_ptr<Checkpoint> checkpoint;
};

Model OpenGolden(const char* name) {
  const Path dir = Path(HADAL_TEST_DATA) / "golden" / name;
  auto config = LoadConfig(dir);
  auto checkpoint = Checkpoint::Open(dir);
  EXPECT_TRUE(config.has_value()) << config.error().message;
  EXPECT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  return {std::move(config).value(), std::move(checkpoint).value()};
}

void LocateNetwork(const std::string& prefix, const FeedForwardWeights& w, std::vector<Located>& all) {
  all.push_back({prefix + "gate_proj", &w.gate, w.gate.in});
  all.push_back({prefix + "up_proj", &w.up, w.up.in});
  all.push_back({prefix + "down_proj", &w.down, w.down.in});
}

void LocateLayer(const ModelConfig& c, int64_t index, const LayerWeights& w, std::vector<Located>& all) {
  const std::string layer = fmt::format("model.layers.{}.", index), attention = layer + "self_attn.";
  const MlaWeights& a = w.attention;
  if (a.q_down) all.push_back({attention + "q_a_proj", &*a.q_down, c.hidden_size});
  all.push_back({attention + (a.q_down ? "q_b_proj" : "q_proj"), &a.q_up, a.q_up.in});
  all.push_back({attention + "kv_a_proj_with_mqa", &a.kv_down, c.hidden_size});
  all.push_back({attention + "o_proj", &a.out, a.out.in});
  const int64_t n = c.qk_nope_head_dim, stride = n + c.v_head_dim;
  for (int64_t h = 0; h < c.num_attention_heads; ++h) {
    const auto head = static_cast<size_t>(h);
    all.push_back({attention + "kv_b_proj", &a.k_up[head], c.kv_lora_rank, h * stride});
    all.push_back({attention + "kv_b_proj", &a.v_up[head], c.kv_lora_rank, h * stride + n});
    all.push_back({attention + "kv_b_proj", &a.v_up_absorbed[head], c.kv_lora_rank, h * stride + n});
    all.push_back({attention + "kv_b_proj", &a.k_up_absorbed[head], c.kv_lora_rank, h * stride, true});
  }
  if (w.dense) LocateNetwork(layer + "mlp.", *w.dense, all);
  if (!w.moe) return;
  all.push_back({layer + "mlp.gate", &w.moe->router, c.hidden_size});
  for (size_t i = 0; i < w.moe->experts.size(); ++i)
    LocateNetwork(fmt::format("{}mlp.experts.{}.", layer, i), w.moe->experts[i], all);
  if (w.moe->shared) LocateNetwork(layer + "mlp.shared_experts.", *w.moe->shared, all);
}

std::vector<Located> LocateAll(const ModelConfig& c, const Weights& w) {
  std::vector<Located> all = {
      {c.tie_word_embeddings ? "model.embed_tokens" : "lm_head", &w.head, c.hidden_size}};
  for (size_t i = 0; i < w.layers.size(); ++i) LocateLayer(c, static_cast<int64_t>(i), w.layers[i], all);
  for (size_t i = 0; i < w.mtp.size(); ++i) {
    const int64_t index = c.num_hidden_layers + static_cast<int64_t>(i);
    all.push_back({fmt::format("model.layers.{}.eh_proj", index), &w.mtp[i].combine, 2 * c.hidden_size});
    LocateLayer(c, index, w.mtp[i].layer, all);
  }
  return all;
}

/// Calls check(stored value, code, scale, output, k) for `samples` elements of `located`, its corners among
/// them.
template <typename Check>
void ForSamples(const Model& model, const Located& located, int samples, Check check) {
  const LinearWeight& w = *located.weight;
  for (int i = 0; i < samples; ++i) {
    const auto draw = PhiloxAt(11, static_cast<uint64_t>(located.first_row), static_cast<uint64_t>(i));
    const int64_t o = i == 0 ? 0 : i == 1 ? w.out - 1 : draw[0] % w.out;
    const int64_t k = i == 0 ? 0 : i == 1 ? w.in - 1 : draw[1] % w.in;
    const int64_t row = located.first_row + (located.transposed ? k : o), col = located.transposed ? o : k;
    const double stored =
        StoredWeight(*model.checkpoint, model.config.quantization, located.base, located.source_in, row, col);
    SCOPED_TRACE(testing::Message() << located.base << " row " << row << " column " << col);
    check(stored, PackedCode(w, o, k), PackedScale(w, o, k), o, k);
  }
}

uint64_t AllocatedBytes(const Weights& weights) {
  uint64_t bytes = 0;
  for (const ByteBuffer& buffer : weights.memory) bytes += buffer.size();
  return bytes;
}

/// Loads and checks that the plan was right to the byte.
Result<Weights> Load(const Model& model, const LoadOptions& options, int threads = 2) {
  ThreadPool pool(threads);
  auto weights = LoadWeights(model.config, *model.checkpoint, options, pool);
  const auto plan = PlanWeights(model.config, *model.checkpoint, options);
  EXPECT_EQ(plan.has_value(), weights.has_value());
  if (weights && plan) EXPECT_EQ(AllocatedBytes(*weights), *plan);
  return weights;
}

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
