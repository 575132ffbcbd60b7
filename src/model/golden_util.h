// For tests: a golden folder loaded and ready to run, and its expected results.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/forward.h"
#include "model/weights.h"

namespace hadal::golden {

inline Path Folder(const std::string& name) { return Path(HADAL_TEST_DATA) / "golden" / name; }

inline const std::vector<std::string>& Folders() {
  static const std::vector<std::string> kFolders{"v3-tiny-f32",    "v3-tiny-bf16", "v3-tiny-fp8",
                                                 "moonlight-tiny", "v2lite-tiny",  "v3-tiny-mtp"};
  return kFolders;
}

/// The value of a Result, or a failed test with its message.
template <typename T>
T Must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message;
    throw std::runtime_error(result.error().message);
  }
  return std::move(result).value();
}
inline void Must(Status status) {
  if (!status) {
    ADD_FAILURE() << status.error().message;
    throw std::runtime_error(status.error().message);
  }
}

struct Model {
  ModelConfig config;
  Weights weights;
  std::unique_ptr<ThreadPool> pool;
  LoopbackCommunicator alone;
  std::unique_ptr<ForwardPass> pass;
};

/// One sequence at a time gets the block table 0, 1, 2, …
inline std::unique_ptr<Model> Load(const Path& folder, const LoadOptions& options, const KernelTable& kernels,
                                   int threads, StepLimits limits) {
  limits.mtp = options.mtp;
  auto model = std::make_unique<Model>();
  model->pool = std::make_unique<ThreadPool>(threads);
  model->config = Must(LoadConfig(folder));
  const auto checkpoint = Must(Checkpoint::Open(folder));
  model->weights = Must(LoadWeights(model->config, *checkpoint, options, *model->pool));
  model->pass = Must(ForwardPass::Create(model->config, model->weights, kernels, *model->pool, model->alone, limits,
                                         options.compute == ComputeMode::kAuto));
  return model;
}

struct Prompt {
  std::vector<int32_t> ids;
  std::vector<int64_t> positions;  // whose logits follow
  std::vector<float> logits;       // [positions, vocab]
  std::vector<int32_t> greedy;
};

inline std::vector<int32_t> Ids(const Checkpoint& file, const std::string& name) {
  const std::vector<int64_t> wide = Must(ReadI64(file, name));
  return {wide.begin(), wide.end()};
}

/// Prompt `index`, or one without ids if there is none.
inline Prompt ReadPrompt(const Checkpoint& file, int index) {
  const std::string p = "p" + std::to_string(index);
  Prompt prompt;
  if (!file.Find(p + ".input_ids")) return prompt;
  prompt.ids = Ids(file, p + ".input_ids");
  prompt.positions = Must(ReadI64(file, p + ".logit_positions"));
  prompt.logits = Must(ReadF32(file, p + ".logits"));
  prompt.greedy = Ids(file, p + ".greedy");
  return prompt;
}

}  // namespace hadal::golden
