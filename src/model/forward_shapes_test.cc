// Shapes whose sizes divide nothing: every kernel set against the plain loops, in f32, for each way of storing weights.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "model/config_writer.h"
#include "model/golden_util.h"
#include "model/safetensors_test_util.h"
#include "model/safetensors_writer.h"
#include "model/tensor_encoder.h"
#include "model/tensor_names.h"

namespace hadal {
namespace {

using golden::Must;

ModelConfig OddConfig(int64_t q_lora, TopkMethod method) {
  ModelConfig c;
  c.architecture = method == TopkMethod::kNoauxTc ? Architecture::kDeepseekV3 : Architecture::kDeepseekV2;
  c.model_type = method == TopkMethod::kNoauxTc ? "deepseek_v3" : "deepseek_v2";
  c.vocab_size = 101;
  c.hidden_size = 93;
  c.num_hidden_layers = 3;
  c.max_position_embeddings = 500;
  c.num_attention_heads = 3;
  c.q_lora_rank = q_lora;
  c.kv_lora_rank = 37;
  c.qk_nope_head_dim = 13;
  c.qk_rope_head_dim = 6;
  c.v_head_dim = 11;
  c.intermediate_size = 150;
  c.first_k_dense_replace = 1;
  c.moe_intermediate_size = 19;
  c.n_routed_experts = 12;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 3;
  c.n_group = method == TopkMethod::kGreedy ? 1 : 3;
  c.topk_group = method == TopkMethod::kGreedy ? 1 : 2;
  c.topk_method = method;
  c.scoring_func = method == TopkMethod::kNoauxTc ? Scoring::kSigmoid : Scoring::kSoftmax;
  c.norm_topk_prob = method == TopkMethod::kNoauxTc;
  c.routed_scaling_factor = 1.7;
  c.eos_token_ids = {1};
  return c;
}

/// Writes `config` with seeded weights: Linears as `format`, the rest as its kind asks.
void WriteFolder(const Path& folder, ModelConfig config, WeightFormat format) {
  if (format == WeightFormat::kFp8) config.quantization.method = QuantizationConfig::Method::kFp8;
  Must(WriteFileAtomic(folder / "config.json", ConfigJson(config)));
  std::vector<TensorEncoder> encoders;
  std::vector<TensorDeclaration> declarations;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const WeightFormat mine = spec.kind == TensorKind::kLinear  ? format
                              : format == WeightFormat::kFp8 ? WeightFormat::kBF16
                                                             : format;
    encoders.push_back(Must(TensorEncoder::Create(
        spec.name, spec.shape, spec.kind == TensorKind::kRouterBias ? WeightFormat::kF32 : mine, 32)));
    for (const TensorDeclaration& declaration : encoders.back().Declarations()) declarations.push_back(declaration);
  }
  SortForAlignment(declarations);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::map<std::string, std::vector<std::byte>> bytes;
  for (const TensorEncoder& e : encoders) {
    std::vector<float> x(static_cast<size_t>(e.rows() * e.cols()));
    const bool norm = e.name().find("norm") != std::string::npos;
    const bool router = e.name().find("mlp.gate.weight") != std::string::npos;
    // Routers spread their scores, so that no two kernels choose differently.
    const float scale = norm ? 0.1f : router ? 1.0f : 1.0f / std::sqrt(static_cast<float>(e.cols()));
    for (float& v : x) v = normal(random) * scale + (norm ? 1.0f : 0.0f);
    std::vector<std::byte> values(static_cast<size_t>(e.ValueBytes(e.rows())));
    std::vector<std::byte> scales(static_cast<size_t>(e.ScaleBytes(e.rows())));
    e.Encode(x.data(), e.rows(), values.data(), scales.data());
    const std::vector<TensorDeclaration> parts = e.Declarations();
    bytes[parts[0].name] = std::move(values);
    if (parts.size() > 1) bytes[parts[1].name] = std::move(scales);
  }
  auto writer = Must(SafetensorsWriter::Create(folder / "model.safetensors", declarations));
  for (const TensorDeclaration& declaration : declarations)
    Must(writer.Write(declaration.name, bytes.at(declaration.name)));
  Must(writer.Finish());
}

std::vector<float> Logits(const Path& folder, const KernelTable& kernels, const LoadOptions& options, Run::Role role) {
  StepLimits limits;
  limits.tokens = limits.logit_rows = 150;
  limits.context = 150;
  limits.block_size = 5;
  const auto model = golden::Load(folder, options, kernels, 2, limits);
  std::vector<int32_t> table(static_cast<size_t>(model->pass->cache().blocks())), ids(150);
  std::iota(table.rbegin(), table.rend(), 0);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 37 % 101);
  Step step;
  step.Add(role, ids.data(), 150, 0, table.data());
  for (int32_t i = 0; i < 150; ++i) step.logit_rows.push_back(i);
  const View<const float> logits = Must(model->pass->Run(step));
  return {logits.data, logits.data + logits.rows * logits.cols};
}

class ForwardShapes : public TempFolderTest {
 protected:
  void ExpectAllKernelsAgree(const LoadOptions& options) {
    const std::vector<float> want = Logits(folder_, ReferenceKernels(), options, Run::Role::kPrompt);
    for (const Isa isa : AvailableIsas()) {
      for (const Run::Role role : {Run::Role::kPrompt, Run::Role::kGenerated}) {
        const std::vector<float> got = Logits(folder_, CpuKernels(isa), options, role);
        for (size_t i = 0; i < want.size(); ++i)
          ASSERT_NEAR(got[i], want[i], 1e-4f * std::max(1.0f, std::fabs(want[i])))
              << IsaName(isa) << ", row " << i / 101 << (role == Run::Role::kPrompt ? ", plain" : ", absorbed");
      }
    }
  }
};

LoadOptions F32() {
  LoadOptions options;
  options.compute = ComputeMode::kF32;
  return options;
}

TEST_F(ForwardShapes, F32WithQueryCompression) {
  WriteFolder(folder_, OddConfig(29, TopkMethod::kNoauxTc), WeightFormat::kF32);
  ExpectAllKernelsAgree(F32());
}

TEST_F(ForwardShapes, BF16WithoutQueryCompression) {
  WriteFolder(folder_, OddConfig(0, TopkMethod::kGroupLimitedGreedy), WeightFormat::kBF16);
  ExpectAllKernelsAgree(F32());
}

TEST_F(ForwardShapes, Fp8) {
  WriteFolder(folder_, OddConfig(29, TopkMethod::kNoauxTc), WeightFormat::kFp8);
  ExpectAllKernelsAgree(F32());
}

TEST_F(ForwardShapes, GreedySoftmaxRoutingOfBF16) {
  WriteFolder(folder_, OddConfig(29, TopkMethod::kGreedy), WeightFormat::kBF16);
  ExpectAllKernelsAgree(F32());
}

TEST_F(ForwardShapes, QuantisedAtLoadWithRaggedGroups) {
  WriteFolder(folder_, OddConfig(29, TopkMethod::kNoauxTc), WeightFormat::kBF16);
  for (const WeightChoice choice : {WeightChoice::kInt8, WeightChoice::kInt4}) {
    for (const int32_t group : {32, 64, 128}) {
      LoadOptions options = F32();
      options.weights = choice;
      options.group = group;
      SCOPED_TRACE(testing::Message() << (choice == WeightChoice::kInt8 ? "int8" : "int4") << " group " << group);
      const std::vector<float> want = Logits(folder_, ReferenceKernels(), options, Run::Role::kPrompt);
      for (const Isa isa : AvailableIsas()) {
        const std::vector<float> got = Logits(folder_, CpuKernels(isa), options, Run::Role::kPrompt);
        for (size_t i = 0; i < want.size(); ++i)
          ASSERT_NEAR(got[i], want[i], 1e-4f * std::max(1.0f, std::fabs(want[i]))) << IsaName(isa);
      }
    }
  }
}

}  // namespace
}  // namespace hadal
