#include "model/lora.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/convert.h"
#include "model/random_normal.h"
#include "model/safetensors_test_util.h"
#include "model/synth.h"
#include "model/tensor_names.h"
#include "model/weight_test_util.h"

namespace hadal {
namespace {

constexpr int64_t kRank = 4;
constexpr double kAlpha = 8;
const char* const kAdapted[] = {"model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.up_proj.weight",
                                "model.layers.1.mlp.experts.2.down_proj.weight"};

/// A factor to write: a name in the file, and a shape.
struct Written {
  std::string name;
  std::vector<int64_t> shape;
};

std::vector<float> FactorValues(const Written& w) {
  std::vector<float> values(static_cast<size_t>(w.shape[0] * w.shape.back()));
  FillNormal(3, StreamOf(w.name), 0, static_cast<int64_t>(values.size()), 0, 0.1f, values.data());
  return values;
}

class LoraTest : public TempFolderTest {
 protected:
  Path Model(const char* weights, uint64_t seed = 1) {
    const Path dir = folder_ / fmt::format("model-{}-{}", weights, seed);
    SynthOptions options;
    options.shape = "v3-tiny";
    options.weights = weights;
    options.seed = seed;
    options.out = dir;
    EXPECT_TRUE(Synthesize(options, pool_));
    return dir;
  }

  static TensorSpec SpecOf(const Path& model, const std::string& name) {
    const std::vector<TensorSpec> specs = ExpectedTensors(LoadConfig(model).value());
    for (const TensorSpec& spec : specs)
      if (spec.name == name) return spec;
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }

  static std::vector<Written> FactorsFor(const Path& model) {
    std::vector<Written> factors;
    for (const char* weight : kAdapted) {
      const TensorSpec spec = SpecOf(model, weight);
      factors.push_back({std::string(kLoraPrefix) + LoraFactorName(weight, 'A'), {kRank, spec.shape[1]}});
      factors.push_back({std::string(kLoraPrefix) + LoraFactorName(weight, 'B'), {spec.shape[0], kRank}});
    }
    return factors;
  }

  Path Adapter(const std::vector<Written>& factors, const std::string& config = "",
               const std::map<std::string, std::string>& metadata = {}) {
    const Path dir = folder_ / fmt::format("adapter-{}", ++adapters_);
    std::filesystem::create_directories(dir);
    const std::string described = LoraConfigJson({.rank = kRank, .alpha = kAlpha, .targets = {"o_proj"}, .base_model = "m"});
    EXPECT_TRUE(WriteFileAtomic(dir / kLoraConfigName, config.empty() ? described : config));
    std::vector<TensorDeclaration> declarations;
    for (const Written& w : factors) declarations.push_back({w.name, DType::kF32, w.shape});
    auto writer = SafetensorsWriter::Create(dir / kLoraWeightsName, declarations, metadata).value();
    for (const Written& w : factors) {
      const std::vector<float> values = FactorValues(w);
      EXPECT_TRUE(writer.Write(w.name, std::as_bytes(std::span(values))));
    }
    EXPECT_TRUE(writer.Finish());
    return dir;
  }

  Status Merge(const Path& in, const Path& adapter, const char* weights, const Path& out) {
    ConvertOptions options;
    options.in = in;
    options.out = out;
    options.weights = weights;
    options.adapter = adapter;
    return Convert(options, pool_);
  }
  Status Refusal(const Path& in, const Path& adapter) { return Merge(in, adapter, "bf16", folder_ / "refused"); }

  ThreadPool pool_{2};
  int adapters_ = 0;
};

/// What the merged weight's element should be.
double Expected(const Checkpoint& base, const QuantizationConfig& quantization, const TensorSpec& spec, int64_t row,
                int64_t col) {
  const std::string linear = spec.name.substr(0, spec.name.size() - 7);
  double value = StoredWeight(base, quantization, linear, spec.shape[1], row, col);
  const Written a{std::string(kLoraPrefix) + LoraFactorName(spec.name, 'A'), {kRank, spec.shape[1]}};
  const Written b{std::string(kLoraPrefix) + LoraFactorName(spec.name, 'B'), {spec.shape[0], kRank}};
  static std::map<std::string, std::vector<float>> values;
  for (const Written* w : {&a, &b})
    if (!values.contains(w->name)) values[w->name] = FactorValues(*w);
  for (int64_t k = 0; k < kRank; ++k)
    value += kAlpha / kRank * static_cast<double>(values[b.name][static_cast<size_t>(row * kRank + k)]) *
             static_cast<double>(values[a.name][static_cast<size_t>(k * spec.shape[1] + col)]);
  return value;
}

TEST_F(LoraTest, IsMergedIntoAnyFormatFromAnyOther) {
  for (const char* from : {"bf16", "fp8", "int4"})
    for (const char* to : {"bf16", "fp8", "int8", "int4"}) {
      SCOPED_TRACE(fmt::format("{} to {}", from, to));
      const Path model = folder_ / fmt::format("model-{}-1", from);
      if (!std::filesystem::exists(model)) Model(from);
      const Path out = folder_ / fmt::format("{}-{}", from, to);
      const Status merged = Merge(model, Adapter(FactorsFor(model)), to, out);
      ASSERT_TRUE(merged) << merged.error().message;
      const ModelConfig base_config = LoadConfig(model).value(), config = LoadConfig(out).value();
      const auto base = Checkpoint::Open(model).value(), result = Checkpoint::Open(out).value();
      for (const char* weight : kAdapted) {
        const TensorSpec spec = SpecOf(model, weight);
        const std::string linear = spec.name.substr(0, spec.name.size() - 7);
        double squares = 0, distance = 0, moved = 0;
        for (int64_t row = 0; row < spec.shape[0]; row += 7)
          for (int64_t col = 0; col < spec.shape[1]; col += 3) {
            const double want = Expected(*base, base_config.quantization, spec, row, col);
            const double is = StoredWeight(*result, config.quantization, linear, spec.shape[1], row, col);
            const double was = StoredWeight(*base, base_config.quantization, linear, spec.shape[1], row, col);
            squares += want * want;
            distance += (want - is) * (want - is);
            moved += (want - was) * (want - was);
          }
        const double bound = std::string(to) == "bf16" ? 0.003 : std::string(to) == "int8" ? 0.01
                             : std::string(to) == "fp8" ? 0.04 : 0.12;
        EXPECT_LT(std::sqrt(distance / squares), bound) << weight;
        EXPECT_GT(std::sqrt(moved / squares), 0.3) << weight;
      }
    }
}

TEST_F(LoraTest, LeavesEverythingElseToTheByte) {
  for (const char* weights : {"bf16", "fp8", "int4"}) {
    const Path model = Model(weights), out = folder_ / fmt::format("out-{}", weights);
    ASSERT_TRUE(Merge(model, Adapter(FactorsFor(model)), weights, out));
    EXPECT_EQ(ReadFile(model / "config.json").value(), ReadFile(out / "config.json").value());
    const auto a = Checkpoint::Open(model).value(), b = Checkpoint::Open(out).value();
    ASSERT_EQ(a->tensors().size(), b->tensors().size());
    for (const TensorInfo& tensor : a->tensors()) {
      const TensorInfo* other = b->Find(tensor.name);
      ASSERT_TRUE(other) << tensor.name;
      std::vector<std::byte> one, two;
      const auto left = a->Read(tensor, 0, tensor.bytes, one).value(), right = b->Read(*other, 0, other->bytes, two).value();
      const bool adapted = std::ranges::any_of(kAdapted, [&](std::string_view weight) {
        weight.remove_suffix(std::string_view("weight").size());
        return tensor.name.starts_with(weight);
      });
      if (!adapted) EXPECT_TRUE(std::ranges::equal(left, right)) << tensor.name;
    }
  }
}

TEST_F(LoraTest, RefusesWhatIsNotOfThisModel) {
  const Path model = Model("bf16");
  std::vector<Written> factors = FactorsFor(model);
  factors[0].name = std::string(kLoraPrefix) + "model.layers.99.self_attn.o_proj.lora_A.weight";
  factors[1].name = std::string(kLoraPrefix) + "model.layers.99.self_attn.o_proj.lora_B.weight";
  ExpectError(Refusal(model, Adapter(factors)), Code::kInvalidArgument,
              "'model.layers.99.self_attn.o_proj.weight', which is no Linear of the model");
  factors = FactorsFor(model);
  factors[0].shape[1] += 1;
  ExpectError(Refusal(model, Adapter(factors)), Code::kInvalidArgument, "it is another model's");
  factors = FactorsFor(model);
  factors[0].shape[0] += 1;
  ExpectError(Refusal(model, Adapter(factors)), Code::kDataLoss, "expected floats [r, in] of the rank 4");
  factors = FactorsFor(model);
  factors.pop_back();
  ExpectError(Refusal(model, Adapter(factors)), Code::kDataLoss, "is missing, the other factor is there");
  factors.push_back({"base_model.model.model.embed_tokens.lora_embedding_A", {kRank, 8}});
  ExpectError(Refusal(model, Adapter(factors)), Code::kUnsupported, "lora_embedding_A");
  ExpectError(Refusal(model, folder_ / "none"), Code::kNotFound, kLoraConfigName);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "refused"));
}

TEST_F(LoraTest, KnowsItsBaseInAnyFormat) {
  const Path model = Model("bf16"), other = Model("bf16", 2);
  const auto fingerprint = [](const Path& dir) {
    return ModelFingerprint(*Checkpoint::Open(dir).value(), LoadConfig(dir).value()).value();
  };
  EXPECT_NE(fingerprint(model), fingerprint(other));
  ConvertOptions options;
  options.in = model;
  options.out = folder_ / "int4";
  options.weights = "int4";
  ASSERT_TRUE(Convert(options, pool_));
  EXPECT_EQ(fingerprint(model), fingerprint(folder_ / "int4"));
  const Path adapter = Adapter(FactorsFor(model), "", {{kLoraBaseKey, fingerprint(model)}});
  EXPECT_TRUE(Merge(folder_ / "int4", adapter, "fp8", folder_ / "merged"));
  ExpectError(Refusal(other, adapter), Code::kInvalidArgument, "was trained on another model");
}

TEST_F(LoraTest, RefusesOtherKindsOfAdapters) {
  const Path model = Model("bf16");
  const auto refuse = [&](const std::string& config, Code code, std::string_view part) {
    SCOPED_TRACE(config);
    ExpectError(Refusal(model, Adapter(FactorsFor(model), config)), code, part);
  };
  const auto with = [](const std::string& more) { return R"({"peft_type":"LORA","r":4,"lora_alpha":8)" + more + "}"; };
  refuse(with(R"(,"use_dora":true)"), Code::kUnsupported, "use_dora is true");
  refuse(with(R"(,"fan_in_fan_out":true)"), Code::kUnsupported, "fan_in_fan_out is true");
  refuse(with(R"(,"bias":"all")"), Code::kUnsupported, "bias is");
  refuse(with(R"(,"rank_pattern":{"o_proj":8})"), Code::kUnsupported, "rank_pattern");
  refuse(R"({"peft_type":"IA3"})", Code::kUnsupported, "peft_type is");
  refuse(R"({"peft_type":"LORA","lora_alpha":8})", Code::kInvalidArgument, "r");
  refuse(R"({"peft_type":"LORA","r":4})", Code::kInvalidArgument, "lora_alpha");
  refuse("no json", Code::kInvalidArgument, kLoraConfigName);
  EXPECT_TRUE(LoraAdapter::Open(Adapter(FactorsFor(model), with(R"(,"rank_pattern":{},"use_rslora":true)"))));
}

TEST_F(LoraTest, AFactorThatIsNoNumberIsRefusedByName) {
  const Path model = Model("bf16");
  const Path adapter = Adapter(FactorsFor(model));
  std::string bytes = ReadFile(adapter / kLoraWeightsName).value();
  const float nan = NAN;
  bytes.replace(bytes.size() - sizeof nan, sizeof nan, reinterpret_cast<const char*>(&nan), sizeof nan);
  ASSERT_TRUE(WriteFileAtomic(adapter / kLoraWeightsName, bytes));
  ExpectError(Refusal(model, adapter), Code::kDataLoss, "lora_B.weight");
}

}  // namespace
}  // namespace hadal
