// What loading makes of other folders than the golden ones: packed integers, tied heads, damaged files; and
// that neither threads nor the kind of source change a byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <thread>

#include "base/rng.h"
#include "model/compressed_tensors.h"
#include "model/safetensors_test_util.h"
#include "model/weight_load_test_util.h"

namespace hadal {
namespace {

/// A checkpoint that has no mapping to give, as a sealed one, and whose bytes lie at odd addresses.
class CopyingCheckpoint final : public Checkpoint {
 public:
  explicit CopyingCheckpoint(const Checkpoint& source) : source_(source) {}
  std::span<const TensorInfo> tensors() const override { return source_.tensors(); }
  const TensorInfo* Find(std::string_view name) const override { return source_.Find(name); }
  const std::map<std::string, std::string>& metadata() const override { return source_.metadata(); }
  const Path& path() const override { return source_.path(); }
  Result<std::span<const std::byte>> Read(const TensorInfo& tensor, uint64_t offset, uint64_t length,
                                          std::vector<std::byte>& scratch) const override {
    std::vector<std::byte> unused;
    ASSIGN_OR_RETURN(const auto bytes, source_.Read(tensor, offset, length, unused));
    scratch.assign(1, std::byte{0});
    scratch.insert(scratch.end(), bytes.begin(), bytes.end());
    return std::span<const std::byte>(scratch).subspan(1);
  }
  void Release(const TensorInfo& tensor, uint64_t offset, uint64_t length) const override {
    EXPECT_LE(offset + length, tensor.bytes) << tensor.name;
    const std::lock_guard lock(mutex_);
    released_ += length;
  }
  Status Verify() const override {
    ++verified;
    return {};
  }
  uint64_t released() const { return released_; }
  mutable std::atomic<int> verified{0};

 private:
  const Checkpoint& source_;
  mutable std::mutex mutex_;
  mutable uint64_t released_ = 0;
};

/// The model with its body's Linears replaced by random codes of `bits`, scales of `scale`.
Model PackedModel(const Path& file, int bits, DType scale) {
  Model model = OpenGolden("moonlight-tiny");
  std::vector<HandTensor> tensors;
  uint64_t seed = 100;
  for (HandTensor& tensor : CopyTensors(*model.checkpoint)) {
    const bool body = tensor.name.find("_proj") != std::string::npos;
    if (!body) {
      tensors.push_back(std::move(tensor));
      continue;
    }
    const int64_t out = tensor.shape[0], in = tensor.shape[1];
    const int64_t words = PackedWords(in, bits), groups = (in + 31) / 32;
    // In a row that ends inside a word, the bits after its end are zero.
    std::vector<std::byte> packed(static_cast<size_t>(out * words * 4));
    std::vector<int8_t> codes(static_cast<size_t>(in));
    ++seed;
    for (int64_t row = 0; row < out; ++row) {
      for (int64_t k = 0; k < in; ++k) {
        const uint32_t draw = PhiloxAt(seed, static_cast<uint64_t>(row), static_cast<uint64_t>(k))[0];
        codes[static_cast<size_t>(k)] = static_cast<int8_t>(static_cast<int8_t>(draw) >> (8 - bits));
      }
      PackCodes(
          codes, bits,
          std::span(packed).subspan(static_cast<size_t>(row * words * 4), static_cast<size_t>(words * 4)));
    }
    std::vector<uint16_t> halves;
    std::vector<float> floats;
    for (int64_t i = 0; i < out * groups; ++i) {
      floats.push_back(0.01f +
                       static_cast<float>(PhiloxAt(seed, 1u << 20, static_cast<uint64_t>(i))[0]) * 0x1p-37f);
      halves.push_back(scale == DType::kBF16 ? ToBF16(floats.back()).bits : ToF16(floats.back()).bits);
    }
    const std::string base = tensor.name.substr(0, tensor.name.rfind(".weight"));
    tensors.push_back({base + ".weight_packed", DType::kI32, {out, words}, std::move(packed)});
    tensors.push_back(scale == DType::kF32
                          ? MakeTensor(base + ".weight_scale", scale, {out, groups}, floats)
                          : MakeTensor(base + ".weight_scale", scale, {out, groups}, halves));
    tensors.push_back(MakeTensor(base + ".weight_shape", DType::kI64, {2}, std::vector<int64_t>{out, in}));
  }
  model.config.quantization.method = QuantizationConfig::Method::kCompressedTensors;
  model.config.quantization.bits = bits;
  model.config.quantization.group_size = 32;
  model.checkpoint = WriteAndOpen(file, tensors);
  return model;
}

class WeightLoad : public TempFolderTest {
 protected:
  Path File() { return folder_ / fmt::format("{}.safetensors", ++files_); }

  /// A golden model, its tensors changed by `change`.
  template <typename Change>
  Model Changed(const char* folder, Change change) {
    Model model = OpenGolden(folder);
    std::vector<HandTensor> tensors = CopyTensors(*model.checkpoint);
    change(tensors);
    model.checkpoint = WriteAndOpen(File(), tensors);
    return model;
  }

  int files_ = 0;
};

TEST_F(WeightLoad, PackedIntegersKeepEveryCodeAndScale) {
  for (int bits : {4, 8}) {
    for (DType scale : {DType::kBF16, DType::kF16, DType::kF32}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, scales " << DTypeName(scale));
      const Model model = PackedModel(File(), bits, scale);
      for (WeightChoice choice : {WeightChoice::kAsStored, WeightChoice::kInt8}) {
        LoadOptions options;
        options.weights = choice;
        const auto weights = Load(model, options);
        ASSERT_TRUE(weights) << weights.error().message;
        for (const Located& located : LocateAll(model.config, *weights)) {
          const LinearWeight& w = *located.weight;
          if (!located.base.ends_with("_proj") || located.transposed) continue;
          const bool key_value = located.base.ends_with("kv_b_proj");
          if (key_value) {  // decoded, never quantised
            EXPECT_EQ(w.format, WeightFormat::kBF16);
            ForSamples(model, located, 12, [&](double stored, float code, float, int64_t, int64_t) {
              EXPECT_EQ(code, RoundToBF16(static_cast<float>(stored)));
            });
            continue;
          }
          EXPECT_EQ(w.format, bits == 8 ? WeightFormat::kInt8 : WeightFormat::kInt4);
          EXPECT_EQ(w.input, InputFormat::kInt8);
          EXPECT_EQ(w.scales_bf16, scale == DType::kBF16);
          ForSamples(model, located, 12,
                     [&](double stored, float code, float weight_scale, int64_t, int64_t) {
                       EXPECT_EQ(double{code} * double{weight_scale}, stored);
                       EXPECT_GT(weight_scale, 0.0099f);
                     });
        }
      }
    }
  }
}

/// The largest magnitude of the source values that share the scale of (o, k).
double GroupMax(const Model& model, const Located& located, int64_t o, int64_t k) {
  const LinearWeight& w = *located.weight;
  double amax = 0;
  const int64_t begin = k / w.group * w.group, end = std::min<int64_t>(w.in, begin + w.group);
  for (int64_t j = begin; j < end; ++j) {
    const int64_t row = located.first_row + (located.transposed ? j : o), col = located.transposed ? o : j;
    const double x =
        StoredWeight(*model.checkpoint, model.config.quantization, located.base, located.source_in, row, col);
    amax = std::max(amax, std::abs(x));
  }
  return amax;
}

TEST_F(WeightLoad, QuantisedValuesAreWithinHalfAStep) {
  for (const char* folder : {"v3-tiny-f32", "v3-tiny-fp8", "moonlight-tiny", "v3-tiny-mtp"}) {
    const Model model = OpenGolden(folder);
    for (const auto& [choice, group] : {std::pair{WeightChoice::kInt8, 32},
                                        {WeightChoice::kInt8, 128},
                                        {WeightChoice::kInt4, 32},
                                        {WeightChoice::kInt4, 64}}) {
      SCOPED_TRACE(testing::Message()
                   << folder << ", choice " << static_cast<int>(choice) << ", group " << group);
      LoadOptions options;
      options.weights = choice;
      options.group = group;
      options.mtp = model.config.num_nextn_predict_layers > 0;
      const auto weights = Load(model, options);
      ASSERT_TRUE(weights) << weights.error().message;
      for (const Located& located : LocateAll(model.config, *weights)) {
        const LinearWeight& w = *located.weight;
        if (located.base.ends_with("mlp.gate")) {
          EXPECT_EQ(w.scale_count(), 0);
          continue;
        }
        if (located.base.ends_with("kv_b_proj")) {  // never quantised
          EXPECT_EQ(w.scale_count(), 0);
          continue;
        }
        const bool eight = choice == WeightChoice::kInt8 || located.base.ends_with("eh_proj") ||
                           located.base == "lm_head";
        EXPECT_EQ(w.format, eight ? WeightFormat::kInt8 : WeightFormat::kInt4) << located.base;
        EXPECT_TRUE(w.scales_bf16);
        const double top = eight ? 127 : 7;
        ForSamples(model, located, 6, [&](double stored, float code, float scale, int64_t o, int64_t k) {
          EXPECT_NEAR(scale, GroupMax(model, located, o, k) / top, scale * 0x1p-8);
          EXPECT_NEAR(double{code} * scale, stored, scale * 0.5001);
        });
      }
    }
  }
}

TEST_F(WeightLoad, PackedKeysAreTheSameNumbersInBothForms) {
  const Model model = PackedModel(File(), 4, DType::kF32);
  const auto weights = Load(model, {});
  ASSERT_TRUE(weights) << weights.error().message;
  for (const Located& located : LocateAll(model.config, *weights)) {
    if (!located.transposed) continue;
    EXPECT_EQ(located.weight->format, WeightFormat::kBF16);
    ForSamples(model, located, 6, [&](double stored, float code, float, int64_t, int64_t) {
      EXPECT_EQ(code, RoundToBF16(static_cast<float>(stored)));
    });
  }
}

/// All bytes of the weights, buffer after buffer.
std::vector<std::byte> MemoryOf(const Weights& weights) {
  std::vector<std::byte> bytes;
  for (const ByteBuffer& buffer : weights.memory)
    bytes.insert(bytes.end(), buffer.data(), buffer.data() + buffer.size());
  return bytes;
}

TEST_F(WeightLoad, NeitherThreadsNorTheSourceChangeAByte) {
  for (const char* folder : {"v3-tiny-f32", "v3-tiny-fp8", "moonlight-tiny"}) {
    const Model model = OpenGolden(folder);
    for (WeightChoice choice : {WeightChoice::kAsStored, WeightChoice::kInt4}) {
      SCOPED_TRACE(testing::Message() << folder << ", choice " << static_cast<int>(choice));
      LoadOptions options;
      options.weights = choice;
      const auto first = Load(model, options, 1);
      ASSERT_TRUE(first) << first.error().message;
      const std::vector<std::byte> want = MemoryOf(*first);
      for (int threads : {2, 3}) {
        const auto again = Load(model, options, threads);
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_TRUE(MemoryOf(*again) == want) << threads << " threads";
      }
      const CopyingCheckpoint copying(*model.checkpoint);
      ThreadPool pool(2);
      const auto copied = LoadWeights(model.config, copying, options, pool);
      ASSERT_TRUE(copied) << copied.error().message;
      EXPECT_TRUE(MemoryOf(*copied) == want);
      EXPECT_EQ(copying.verified, 1);
      EXPECT_GE(copying.released(), model.checkpoint->TotalBytes() * 9 / 10);
    }
  }
}

TEST_F(WeightLoad, ReportsWhatItReads) {
  for (const char* folder : {"v3-tiny-fp8", "moonlight-tiny", "v3-tiny-bf16"}) {
    const Model model = OpenGolden(folder);
    LoadOptions options;
    std::mutex one_at_a_time;
    std::vector<uint64_t> seen;
    uint64_t last_total = 0;
    options.progress = [&](uint64_t done, uint64_t total) {
      ASSERT_TRUE(one_at_a_time.try_lock());
      seen.push_back(done);
      last_total = total;
      one_at_a_time.unlock();
    };
    const auto weights = Load(model, options);
    ASSERT_TRUE(weights) << weights.error().message;
    EXPECT_EQ(weights->report.bytes_read, model.checkpoint->TotalBytes());
    EXPECT_GT(weights->report.seconds, 0);
    ASSERT_FALSE(seen.empty());
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(seen.back(), last_total);
    EXPECT_EQ(last_total, model.checkpoint->TotalBytes());
  }
}

TEST_F(WeightLoad, StopsWhenItIsTold) {
  const Model model = OpenGolden("v3-tiny-fp8");
  LoadOptions options;
  std::atomic<int> asked = 0;
  options.stop = [&] { return ++asked > 3; };
  ThreadPool pool(2);
  ExpectError(LoadWeights(model.config, *model.checkpoint, options, pool), Code::kCancelled, "stopped");
  EXPECT_GT(asked, 3);
  options.stop = [] { return false; };
  EXPECT_TRUE(Load(model, options));
}

TEST_F(WeightLoad, ATiedHeadIsTheEmbedding) {
  Model model = Changed("moonlight-tiny", [](auto& tensors) { Remove(tensors, "lm_head.weight"); });
  ExpectError(Load(model, {}), Code::kNotFound, "no tensor 'lm_head.weight'");
  model.config.tie_word_embeddings = true;
  const auto weights = Load(model, {});
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ(weights->report.bytes_read, model.checkpoint->TotalBytes());
  const Located head{"model.embed_tokens", &weights->head, model.config.hidden_size};
  ForSamples(model, head, 50,
             [](double stored, float code, float, int64_t, int64_t) { EXPECT_EQ(code, stored); });
}

TEST_F(WeightLoad, PredictionLayersAreLoadedOnDemand) {
  const Model model = OpenGolden("v3-tiny-mtp");
  LoadOptions options;
  const auto without = Load(model, options);
  options.mtp = true;
  const auto with = Load(model, options);
  ASSERT_TRUE(without && with);
  EXPECT_TRUE(without->mtp.empty());
  EXPECT_EQ(with->mtp.size(), 1u);
  EXPECT_LT(AllocatedBytes(*without), AllocatedBytes(*with));
  EXPECT_EQ(without->BytesPerToken(model.config), with->BytesPerToken(model.config));

  const Model broken =
      Changed("v3-tiny-mtp", [](auto& tensors) { Remove(tensors, "model.layers.2.enorm.weight"); });
  EXPECT_TRUE(Load(broken, {}));
  ExpectError(Load(broken, options), Code::kNotFound, "'model.layers.2.enorm.weight'");
}

TEST_F(WeightLoad, ActivationQuantisationSparesTheAbsorbedForm) {
  const Model model = OpenGolden("v3-tiny-fp8");
  LoadOptions options;
  options.compute = ComputeMode::kF32;
  options.activation_quantization = ActivationQuantization::kPowerOfTwoScale;
  const auto weights = Load(model, options);
  ASSERT_TRUE(weights) << weights.error().message;
  for (const LayerWeights& layer : weights->layers) {
    const MlaWeights& a = layer.attention;
    EXPECT_EQ(a.q_up.input, InputFormat::kE4M3Pow2);
    EXPECT_EQ(a.out.input, InputFormat::kE4M3Pow2);
    for (size_t h = 0; h < a.v_up.size(); ++h) {
      EXPECT_EQ(a.k_up[h].input, InputFormat::kE4M3Pow2);
      EXPECT_EQ(a.v_up[h].input, InputFormat::kE4M3Pow2);
      EXPECT_EQ(a.v_up_absorbed[h].input, InputFormat::kF32);
      EXPECT_EQ(a.k_up_absorbed[h].input, InputFormat::kF32);
      EXPECT_EQ(a.v_up_absorbed[h].panels, a.v_up[h].panels);
      EXPECT_EQ(a.v_up_absorbed[h].scales, a.v_up[h].scales);
    }
    if (layer.moe) {
      EXPECT_EQ(layer.moe->router.input, InputFormat::kF32);
    }
  }
  EXPECT_EQ(weights->head.input, InputFormat::kF32);  // BF16 in the folder
}

// 2 bytes a BF16 value, 4 a norm's or bias's: counted by hand from the shapes. Key and value up-projection
// count once.
TEST_F(WeightLoad, CountsTheBytesOfAToken) {
  const Model model = OpenGolden("moonlight-tiny");
  const ModelConfig& c = model.config;
  const auto weights = Load(model, {});
  ASSERT_TRUE(weights) << weights.error().message;
  const int64_t hidden = c.hidden_size, heads = c.num_attention_heads;
  const int64_t padded_latent = 48;  // 40 rows in panels of 16
  const int64_t attention = heads * c.qk_head_dim() * hidden + padded_latent * hidden +
                            heads * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank +
                            hidden * heads * c.v_head_dim;
  const int64_t dense = 3 * hidden * c.intermediate_size;
  const int64_t moe = c.n_routed_experts * hidden +
                      3 * hidden * c.moe_intermediate_size * (c.num_experts_per_tok + c.n_shared_experts);
  const int64_t norms = 3 * (2 * hidden + c.kv_lora_rank) + hidden + 2 * c.n_routed_experts;
  const int64_t values = 3 * attention + dense + 2 * moe + c.vocab_size * hidden + hidden;
  EXPECT_EQ(weights->BytesPerToken(c), static_cast<uint64_t>(2 * values + 4 * norms));
}

TEST_F(WeightLoad, NamesTheTensorThatIsWrong) {
  const std::string norm = "model.layers.1.self_attn.kv_a_layernorm.weight",
                    expert = "model.layers.2.mlp.experts.7.up_proj.weight";
  const auto expect = [&](Code code, std::string_view part, auto change) {
    const Model model = Changed("moonlight-tiny", change);
    ExpectError(Load(model, {}), code, part);
  };
  for (const std::string& name :
       {norm, expert, std::string("model.layers.1.mlp.gate.e_score_correction_bias"),
        std::string("model.embed_tokens.weight")})
    expect(Code::kNotFound, fmt::format("no tensor '{}'", name),
           [&](auto& tensors) { Remove(tensors, name); });
  expect(Code::kDataLoss, fmt::format("'{}' is [16, 128], config.json needs [32]", norm), [&](auto& tensors) {
    HandTensor copy = Named(tensors, expert);
    copy.name = norm;
    Named(tensors, norm) = copy;
  });
  expect(Code::kDataLoss, fmt::format("'{}' is I16", expert),
         [&](auto& tensors) { Named(tensors, expert).dtype = DType::kI16; });
}

TEST_F(WeightLoad, ReportsTheFirstDamageWhateverTheThreads) {
  // Two damaged tensors: the file's order decides, and the file is in the order of CopyTensors, by name.
  const auto damage = [](HandTensor& tensor, size_t element) {
    const uint16_t nan = 0x7fc0;
    std::memcpy(tensor.bytes.data() + element * 2, &nan, 2);
  };
  for (const char* first :
       {"lm_head.weight", "model.embed_tokens.weight", "model.layers.0.self_attn.kv_b_proj.weight"}) {
    Model model = Changed("moonlight-tiny", [&](auto& tensors) {
      damage(Named(tensors, first),
             3 * (std::string_view(first).ends_with("kv_b_proj.weight") ? 32 : 128) + 1);
      damage(Named(tensors, "model.layers.2.self_attn.o_proj.weight"), 0);
    });
    for (int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      const auto weights = LoadWeights(model.config, *model.checkpoint, {}, pool);
      ExpectError(weights, Code::kDataLoss,
                  fmt::format("'{}' (BF16) holds NaN or infinity in row 3, column 1", first));
    }
  }
}

TEST_F(WeightLoad, ReportsTheFirstOfManyDamagesThatRace) {
  const Model model = Changed("moonlight-tiny", [](auto& tensors) {
    for (HandTensor& tensor : tensors)
      if (tensor.name.find(".experts.") != std::string::npos)
        tensor.bytes[1] = tensor.bytes[0] = std::byte{0xff};
  });
  ThreadPool pool(3);
  for (int i = 0; i < 50; ++i)
    ExpectError(LoadWeights(model.config, *model.checkpoint, {}, pool), Code::kDataLoss,
                "'model.layers.1.mlp.experts.0.down_proj.weight'");
}

TEST_F(WeightLoad, RefusesAPackedShapeThatDisagrees) {
  Model model = PackedModel(File(), 4, DType::kBF16);
  std::vector<HandTensor> tensors = CopyTensors(*model.checkpoint);
  const std::string name = "model.layers.1.self_attn.o_proj.weight_shape";
  Named(tensors, name) = MakeTensor(name, DType::kI64, {2}, std::vector<int64_t>{128, 120});
  model.checkpoint = WriteAndOpen(File(), tensors);
  ThreadPool pool(2);
  ExpectError(LoadWeights(model.config, *model.checkpoint, {}, pool), Code::kDataLoss, name);
}

}  // namespace
}  // namespace hadal
