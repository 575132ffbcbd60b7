// The forward pass in f32 against results computed in fp64 by an independent implementation (tests/data/golden).
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "model/golden_util.h"

namespace hadal {
namespace {

using golden::Must;
using golden::Prompt;

// What fp32 arithmetic leaves: 3e-5 by the data's README; the requirement is 1e-3.
constexpr float kTolerance = 2e-4f;

std::vector<const KernelTable*> AllKernels() {
  std::vector<const KernelTable*> tables{&ReferenceKernels()};
  for (const Isa isa : AvailableIsas()) tables.push_back(&CpuKernels(isa));
  return tables;
}

StepLimits GoldenLimits() {
  StepLimits limits;
  limits.tokens = 320;
  limits.logit_rows = 320;
  limits.context = 384;
  limits.block_size = 16;
  return limits;
}

LoadOptions F32Options(bool mtp = false) {
  LoadOptions options;
  options.compute = ComputeMode::kF32;
  options.mtp = mtp;
  return options;
}

/// Block table of a sequence that has the cache to itself, blocks in reverse so that no test passes by chance.
std::vector<int32_t> WholeCache(const ForwardPass& pass) {
  std::vector<int32_t> table(static_cast<size_t>(pass.cache().blocks()));
  std::iota(table.rbegin(), table.rend(), 0);
  return table;
}

float MaxDifference(View<const float> got, const std::vector<float>& want) {
  float worst = 0;
  for (int64_t t = 0; t < got.rows; ++t)
    for (int64_t i = 0; i < got.cols; ++i) {
      const float difference = std::fabs(got.at(t, i) - want[static_cast<size_t>(t * got.cols + i)]);
      if (!(difference <= worst)) worst = difference;  // NaN too
    }
  return worst;
}

int32_t ArgMax(const float* logits, int64_t count) {
  return static_cast<int32_t>(std::max_element(logits, logits + count) - logits);
}

/// The data's debug.final_norm is one row: the state from which prompt 0's last greedy token was taken.
void ExpectFinalNorm(const ForwardPass& pass, const Checkpoint& file) {
  const std::vector<float> want = Must(ReadF32(file, "debug.final_norm"));
  EXPECT_LE(MaxDifference(pass.final_states(), want), kTolerance);
}

class ForwardGolden : public testing::TestWithParam<std::string> {};

TEST_P(ForwardGolden, LogitsAndGreedyTokensOfEveryPromptAndKernelSet) {
  const auto file = Must(Checkpoint::OpenFile(golden::Folder(GetParam()) / "golden.safetensors"));
  for (const KernelTable* kernels : AllKernels()) {
    SCOPED_TRACE(kernels->name);
    const auto model = golden::Load(golden::Folder(GetParam()), F32Options(), *kernels, 2, GoldenLimits());
    ForwardPass& pass = *model->pass;
    const std::vector<int32_t> table = WholeCache(pass);
    float worst = 0;
    for (int index = 0; index < 4; ++index) {
      const Prompt prompt = golden::ReadPrompt(*file, index);
      if (prompt.ids.empty()) continue;
      Step step;
      step.Add(Run::Role::kPrompt, prompt.ids.data(), static_cast<int64_t>(prompt.ids.size()), 0, table.data());
      for (const int64_t p : prompt.positions) step.logit_rows.push_back(static_cast<int32_t>(p));
      View<const float> logits = Must(pass.Run(step));
      worst = std::max(worst, MaxDifference(logits, prompt.logits));
      int32_t next = ArgMax(logits.row(logits.rows - 1), logits.cols);
      int64_t position = static_cast<int64_t>(prompt.ids.size());
      for (size_t i = 0; i < prompt.greedy.size(); ++i) {
        ASSERT_EQ(next, prompt.greedy[i]) << "prompt " << index << ", generated token " << i;
        step.Clear();
        step.Add(Run::Role::kGenerated, &next, 1, position++, table.data());
        step.logit_rows.push_back(0);
        logits = Must(pass.Run(step));
        if (index == 0 && i + 2 == prompt.greedy.size()) ExpectFinalNorm(pass, *file);
        next = ArgMax(logits.row(0), logits.cols);
      }
    }
    RecordProperty(std::string("max_difference_") + kernels->name, std::to_string(worst));
    EXPECT_LE(worst, kTolerance);
  }
}

/// Both forms of attention give the same function: a prompt taken in either role.
TEST_P(ForwardGolden, AbsorbedAndPlainFormsAgree) {
  const auto file = Must(Checkpoint::OpenFile(golden::Folder(GetParam()) / "golden.safetensors"));
  const auto model = golden::Load(golden::Folder(GetParam()), F32Options(), CpuKernels(BestIsa()), 2, GoldenLimits());
  const std::vector<int32_t> table = WholeCache(*model->pass);
  const Prompt prompt = golden::ReadPrompt(*file, 2);
  Step step;
  step.Add(Run::Role::kGenerated, prompt.ids.data(), static_cast<int64_t>(prompt.ids.size()), 0, table.data());
  for (const int64_t p : prompt.positions) step.logit_rows.push_back(static_cast<int32_t>(p));
  EXPECT_LE(MaxDifference(Must(model->pass->Run(step)), prompt.logits), kTolerance);
}

/// Intermediate results of prompt 0, by name.
class Recorder : public ForwardObserver {
 public:
  void OnTensor(std::string_view name, int64_t layer, View<const float> values) override {
    std::vector<float> copy;
    for (int64_t t = 0; t < values.rows; ++t) copy.insert(copy.end(), values.row(t), values.row(t) + values.cols);
    tensors_[Key(name, layer)] = std::move(copy);
  }
  void OnRoutes(int64_t layer, View<const int32_t> ids, View<const float> weights) override {
    for (int64_t t = 0; t < ids.rows; ++t) {
      routes_[layer].insert(routes_[layer].end(), ids.row(t), ids.row(t) + ids.cols);
      route_weights_[layer].insert(route_weights_[layer].end(), weights.row(t), weights.row(t) + weights.cols);
    }
  }
  static std::string Key(std::string_view name, int64_t layer) {
    return layer < 0 ? std::string(name) : std::to_string(layer) + "." + std::string(name);
  }
  std::map<std::string, std::vector<float>> tensors_;
  std::map<int64_t, std::vector<int64_t>> routes_;
  std::map<int64_t, std::vector<float>> route_weights_;
};

void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, const std::string& name) {
  ASSERT_EQ(got.size(), want.size()) << name;
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], kTolerance * std::max(1.0f, std::fabs(want[i]))) << name << "[" << i << "]";
}

/// Columns [first, first + count) of each head's `width` columns.
std::vector<float> HeadColumns(const std::vector<float>& all, int64_t width, int64_t first, int64_t count) {
  std::vector<float> part;
  for (size_t head = 0; head * static_cast<size_t>(width) < all.size(); ++head) {
    const auto begin = all.begin() + static_cast<int64_t>(head) * width + first;
    part.insert(part.end(), begin, begin + count);
  }
  return part;
}

void CompareLayer(const Recorder& seen, const Checkpoint& file, const ModelConfig& c, int64_t layer) {
  const std::string prefix = "debug." + std::to_string(layer) + ".";
  const auto key = [&](const char* name) { return Recorder::Key(name, layer); };
  const int64_t n = c.qk_nope_head_dim, r = c.qk_rope_head_dim;
  ExpectNear(HeadColumns(seen.tensors_.at(key("q")), n + r, 0, n), Must(ReadF32(file, prefix + "q_nope")), key("q_nope"));
  ExpectNear(HeadColumns(seen.tensors_.at(key("q")), n + r, n, r), Must(ReadF32(file, prefix + "q_pe")), key("q_pe"));
  ExpectNear(HeadColumns(seen.tensors_.at(key("kv")), c.latent_dim(), 0, c.kv_lora_rank),
             Must(ReadF32(file, prefix + "kv_c")), key("kv_c"));
  ExpectNear(HeadColumns(seen.tensors_.at(key("kv")), c.latent_dim(), c.kv_lora_rank, r),
             Must(ReadF32(file, prefix + "k_pe")), key("k_pe"));
  for (const char* name : {"attn_heads", "attn_out", "mlp_out", "hidden"})
    ExpectNear(seen.tensors_.at(key(name)), Must(ReadF32(file, prefix + name)), key(name));
  if (!file.Find(prefix + "route_ids")) return;
  EXPECT_EQ(seen.routes_.at(layer), Must(ReadI64(file, prefix + "route_ids"))) << layer;
  ExpectNear(seen.route_weights_.at(layer), Must(ReadF32(file, prefix + "route_weights")), key("route_weights"));
  ExpectNear(seen.tensors_.at(key("routed_out")), Must(ReadF32(file, prefix + "routed_out")), key("routed_out"));
}

TEST_P(ForwardGolden, EveryIntermediateOfPromptZero) {
  const auto file = Must(Checkpoint::OpenFile(golden::Folder(GetParam()) / "golden.safetensors"));
  for (const KernelTable* kernels : AllKernels()) {
    SCOPED_TRACE(kernels->name);
    const auto model = golden::Load(golden::Folder(GetParam()), F32Options(), *kernels, 1, GoldenLimits());
    const std::vector<int32_t> table = WholeCache(*model->pass);
    const Prompt prompt = golden::ReadPrompt(*file, 0);
    Step step;
    step.Add(Run::Role::kPrompt, prompt.ids.data(), static_cast<int64_t>(prompt.ids.size()), 0, table.data());
    Recorder seen;
    Must(model->pass->Run(step, &seen));
    ExpectNear(seen.tensors_.at("embed"), Must(ReadF32(*file, "debug.embed")), "embed");
    for (int64_t layer = 0; layer < model->config.num_hidden_layers; ++layer)
      CompareLayer(seen, *file, model->config, layer);
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, ForwardGolden, testing::ValuesIn(golden::Folders()), [](const auto& folder) {
  std::string name = folder.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

/// FP8 activations as DeepSeek's GPU kernels quantise them, on prompts guarded against rounding flips.
TEST(ForwardGoldenFp8, ActivationQuantisedFormsOnGuardedPrompts) {
  const auto file = Must(Checkpoint::OpenFile(golden::Folder("v3-tiny-fp8") / "golden.safetensors"));
  const struct {
    const char* name;
    ActivationQuantization quantization;
    Run::Role role;  // the prompt takes the named form of attention
  } forms[] = {{"aq_f32_absorb", ActivationQuantization::kF32Scale, Run::Role::kGenerated},
               {"aq_f32_naive", ActivationQuantization::kF32Scale, Run::Role::kPrompt},
               {"aq_ue8m0_absorb", ActivationQuantization::kPowerOfTwoScale, Run::Role::kGenerated},
               {"aq_ue8m0_naive", ActivationQuantization::kPowerOfTwoScale, Run::Role::kPrompt}};
  for (const auto& form : forms) {
    for (const KernelTable* kernels : AllKernels()) {
      SCOPED_TRACE(std::string(form.name) + " " + kernels->name);
      LoadOptions options = F32Options();
      options.activation_quantization = form.quantization;
      const auto model = golden::Load(golden::Folder("v3-tiny-fp8"), options, *kernels, 2, GoldenLimits());
      const std::vector<int32_t> table = WholeCache(*model->pass);
      const std::string prefix = std::string("guarded.") + form.name;
      const std::vector<int32_t> ids = golden::Ids(*file, prefix + ".input_ids");
      Step step;
      step.Add(form.role, ids.data(), static_cast<int64_t>(ids.size()), 0, table.data());
      for (size_t i = 0; i < ids.size(); ++i) step.logit_rows.push_back(static_cast<int32_t>(i));
      const std::vector<float> want = Must(ReadF32(*file, prefix + ".logits"));
      EXPECT_LE(MaxDifference(Must(model->pass->Run(step)), want), kTolerance);
    }
  }
}

/// The multi-token-prediction layer, from the main model's own states and from the golden ones.
TEST(ForwardGoldenMtp, LogitsLayerOutputAndVariants) {
  const auto file = Must(Checkpoint::OpenFile(golden::Folder("v3-tiny-mtp") / "golden.safetensors"));
  for (const KernelTable* kernels : AllKernels()) {
    SCOPED_TRACE(kernels->name);
    const auto model = golden::Load(golden::Folder("v3-tiny-mtp"), F32Options(/*mtp=*/true), *kernels, 2, GoldenLimits());
    ForwardPass& pass = *model->pass;
    const std::vector<int32_t> table = WholeCache(pass);
    const int64_t hidden = model->config.hidden_size;
    for (int index = 0; index < 2; ++index) {
      const std::string p = "p" + std::to_string(index);
      const Prompt prompt = golden::ReadPrompt(*file, index);
      const int64_t count = static_cast<int64_t>(prompt.ids.size());
      Step step;
      step.Add(Run::Role::kPrompt, prompt.ids.data(), count, 0, table.data());
      Must(pass.Run(step));
      std::vector<float> states;
      for (int64_t t = 0; t < count; ++t)
        states.insert(states.end(), pass.final_states().row(t), pass.final_states().row(t) + hidden);
      ExpectNear(states, Must(ReadF32(*file, p + ".mtp.hidden")), "hidden");

      const std::vector<int32_t> next = golden::Ids(*file, p + ".mtp.next_ids");
      step.Clear();
      step.Add(Run::Role::kPrompt, next.data(), count, 0, table.data());
      for (int64_t t = 0; t < count; ++t) step.logit_rows.push_back(static_cast<int32_t>(t));
      const View<const float> own(states.data(), count, hidden);
      Recorder seen;
      EXPECT_LE(MaxDifference(Must(pass.RunMtp(step, own, 0, &seen)), Must(ReadF32(*file, p + ".mtp.logits"))),
                kTolerance);
      ExpectNear(seen.tensors_.at(Recorder::Key("hidden", 2)), Must(ReadF32(*file, p + ".mtp.layer_out")), "layer_out");
      EXPECT_LE(MaxDifference(Must(pass.RunMtp(step, own, 0, nullptr, /*zero_first_embedding=*/true)),
                              Must(ReadF32(*file, p + ".mtp.zero_first.logits"))),
                kTolerance);
      const std::vector<float> prenorm = Must(ReadF32(*file, p + ".mtp.hidden_prenorm"));
      EXPECT_LE(MaxDifference(Must(pass.RunMtp(step, View<const float>(prenorm.data(), count, hidden), 0)),
                              Must(ReadF32(*file, p + ".mtp.prenorm.logits"))),
                kTolerance);
      if (index == 0) {
        ExpectNear(seen.tensors_.at(Recorder::Key("eh", 2)), Must(ReadF32(*file, "debug.mtp.eh")), "eh");
        CompareLayer(seen, *file, model->config, 2);
      }
    }
  }
}

}  // namespace
}  // namespace hadal
