// Shapes whose sizes divide nothing: every kernel set against the plain loops, in f32, for each way of storing weights.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "model/golden_util.h"
#include "model/odd_folder_test_util.h"
#include "model/safetensors_test_util.h"

namespace hadal {
namespace {

using golden::Must;

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

TEST_F(ForwardShapes, NoSharedExpertsAndOneExpertAToken) {
  ModelConfig config = OddConfig(29, TopkMethod::kNoauxTc);
  config.n_shared_experts = 0;
  config.num_experts_per_tok = 1;
  WriteFolder(folder_, config, WeightFormat::kBF16);
  ExpectAllKernelsAgree(F32());
}

TEST_F(ForwardShapes, ATensorThatNoModelHasIsRefusedByName) {
  ModelConfig config = OddConfig(0, TopkMethod::kGreedy);
  WriteFolder(folder_, config, WeightFormat::kBF16);
  config.n_shared_experts = 0;  // the folder still holds the shared expert's weights
  Must(WriteFileAtomic(folder_ / "config.json", ConfigJson(config)));
  const auto checkpoint = Must(Checkpoint::Open(folder_));
  ThreadPool pool(1);
  ExpectError(LoadWeights(Must(LoadConfig(folder_)), *checkpoint, {}, pool), Code::kDataLoss, "shared_experts");
}

TEST_F(ForwardShapes, ALayerBeyondNumHiddenLayersIsRefused) {
  ModelConfig config = OddConfig(0, TopkMethod::kGreedy);
  WriteFolder(folder_, config, WeightFormat::kBF16);
  --config.num_hidden_layers;
  Must(WriteFileAtomic(folder_ / "config.json", ConfigJson(config)));
  const auto checkpoint = Must(Checkpoint::Open(folder_));
  ThreadPool pool(1);
  ExpectError(LoadWeights(Must(LoadConfig(folder_)), *checkpoint, {}, pool), Code::kDataLoss, "model.layers.2");
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
        for (const Run::Role role : {Run::Role::kPrompt, Run::Role::kGenerated}) {
          const std::vector<float> got = Logits(folder_, CpuKernels(isa), options, role);
          for (size_t i = 0; i < want.size(); ++i)
            ASSERT_NEAR(got[i], want[i], 1e-4f * std::max(1.0f, std::fabs(want[i]))) << IsaName(isa);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal
