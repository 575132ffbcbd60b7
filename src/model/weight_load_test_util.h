// For the tests of loading: every Linear of a loaded model with its place in the folder, and samples of both.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "model/weight_test_util.h"
#include "model/weights.h"

namespace hadal {

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

inline Model OpenGolden(const char* name) {
  const Path dir = Path(HADAL_TEST_DATA) / "golden" / name;
  auto config = LoadConfig(dir);
  auto checkpoint = Checkpoint::Open(dir);
  EXPECT_TRUE(config.has_value()) << config.error().message;
  EXPECT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  return {std::move(config).value(), std::move(checkpoint).value()};
}

inline void LocateNetwork(const std::string& prefix, const FeedForwardWeights& w, std::vector<Located>& all) {
  all.push_back({prefix + "gate_proj", &w.gate, w.gate.in});
  all.push_back({prefix + "up_proj", &w.up, w.up.in});
  all.push_back({prefix + "down_proj", &w.down, w.down.in});
}

inline void LocateLayer(const ModelConfig& c, int64_t index, const LayerWeights& w,
                        std::vector<Located>& all) {
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

inline std::vector<Located> LocateAll(const ModelConfig& c, const Weights& w) {
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

inline uint64_t AllocatedBytes(const Weights& weights) {
  uint64_t bytes = 0;
  for (const ByteBuffer& buffer : weights.memory) bytes += buffer.size();
  return bytes;
}

/// Loads and checks that the plan was right to the byte.
inline Result<Weights> Load(const Model& model, const LoadOptions& options, int threads = 2) {
  ThreadPool pool(threads);
  auto weights = LoadWeights(model.config, *model.checkpoint, options, pool);
  const auto plan = PlanWeights(model.config, *model.checkpoint, options);
  EXPECT_EQ(plan.has_value(), weights.has_value());
  if (weights && plan) {
    EXPECT_EQ(AllocatedBytes(*weights), *plan);
  }
  return weights;
}

}  // namespace hadal
