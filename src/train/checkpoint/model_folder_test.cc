#include "train/checkpoint/model_folder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "model/config_writer.h"
#include "model/golden_util.h"
#include "train/checkpoint/checkpoint_store.h"
#include "train/train_test_util.h"

namespace hadal::train {
namespace {

struct Fixture {
  Fixture() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-folder-XXXXXX").string();
    dir = mkdtemp(name.data());
  }
  ~Fixture() { std::filesystem::remove_all(dir); }

  std::unique_ptr<Trainer<float>> MakeTrainer(const ModelConfig& c) {
    mesh = ProcessMesh::Create(world, {}).value();
    return Trainer<float>::Create(c, *mesh, pool, SmallOptions(Compute::kF32)).value();
  }
  /// A folder that says what model it is and has no weights.
  Path Source(const ModelConfig& c) {
    std::filesystem::create_directories(dir / "source");
    EXPECT_TRUE(WriteFileAtomic(dir / "source/config.json", ConfigJson(c)));
    EXPECT_TRUE(WriteFileAtomic(dir / "source/tokenizer.json", "{}"));
    return dir / "source";
  }

  Path dir;
  LoopbackCommunicator world;
  ThreadPool pool{2};
  std::unique_ptr<ProcessMesh> mesh;
};

TEST(ModelFolder, WhatIsExportedIsReadBackToTheRoundingOfItsFormat) {
  Fixture f;
  const ModelConfig c = SmallConfig();
  const auto trainer = f.MakeTrainer(c);
  trainer->Initialize(3);
  for (auto& bias : trainer->params().biases()) bias.values[2] = 0.25f;
  CheckpointStore store(f.dir / "checkpoints", 1);
  ASSERT_TRUE(store.Save(*trainer, ""));
  const Status exported = ExportModelFolder(
      {.checkpoint = store.Newest().value(), .source = f.Source(c), .out = f.dir / "model", .progress = nullptr}, f.pool);
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_TRUE(std::filesystem::exists(f.dir / "model/tokenizer.json"));

  const auto other = f.MakeTrainer(LoadConfig(f.dir / "model").value());
  const Status loaded = LoadModelFolder(f.dir / "model", *other);
  ASSERT_TRUE(loaded) << loaded.error().message;
  for (size_t i = 0; i < trainer->params().shards().size(); ++i) {
    const View<float> a = trainer->params().parameter(i).value, b = other->params().parameter(i).value;
    for (int64_t r = 0; r < a.rows; ++r)
      for (int64_t k = 0; k < a.cols; ++k)
        ASSERT_EQ(RoundToBF16(a.at(r, k)), b.at(r, k)) << trainer->params().shards()[i].name;
  }
  EXPECT_EQ(other->params().biases()[0].values[2], 0.25f);
}

/// Mean of -log p(next token) by the golden logits of a prompt, which are another implementation's.
double GoldenLoss(const golden::Prompt& prompt, int64_t vocab) {
  double sum = 0;
  const size_t targets = prompt.ids.size() - 1;
  for (size_t t = 0; t < targets; ++t) {
    const float* row = prompt.logits.data() + static_cast<int64_t>(t) * vocab;
    double total = 0;
    for (int64_t v = 0; v < vocab; ++v) total += std::exp(static_cast<double>(row[v]));
    sum += std::log(total) - row[prompt.ids[t + 1]];
  }
  return sum / static_cast<double>(targets);
}

TEST(ModelFolder, TrainingGivesTheLossOfTheGoldenLogits) {
  for (const std::string& name : golden::Folders()) {
    const Path folder = golden::Folder(name);
    const ModelConfig c = LoadConfig(folder).value();
    const auto file = Checkpoint::OpenFile(folder / "golden.safetensors").value();
    for (const int index : {0, 1}) {
      const golden::Prompt prompt = golden::ReadPrompt(*file, index);
      ASSERT_EQ(prompt.positions.size(), prompt.ids.size()) << name;
      LoopbackCommunicator world;
      ThreadPool pool(2);
      const auto mesh = ProcessMesh::Create(world, {}).value();
      TrainerOptions o = SmallOptions(Compute::kF32);
      o.sequence_length = static_cast<int64_t>(prompt.ids.size());
      o.micro_batch_size = o.accumulation_steps = 1;
      const auto trainer = Trainer<float>::Create(c, *mesh, pool, o).value();
      const Status loaded = LoadModelFolder(folder, *trainer);
      ASSERT_TRUE(loaded) << loaded.error().message;
      const std::vector<uint8_t> starts(prompt.ids.size()), learn(prompt.ids.size(), 1);
      const MicroBatch batch = MakeMicroBatch(prompt.ids, starts, learn, o.sequence_length);
      const StepReport report = trainer->Evaluate({&batch, 1}).value();
      EXPECT_NEAR(report.loss, GoldenLoss(prompt, c.vocab_size), 2e-5) << name << " prompt " << index;
    }
  }
}

TEST(ModelFolder, AnIncompleteCheckpointIsNoModel) {
  Fixture f;
  const ModelConfig c = SmallConfig();
  const auto trainer = f.MakeTrainer(c);
  trainer->Initialize(3);
  CheckpointStore store(f.dir / "checkpoints", 1);
  ASSERT_TRUE(store.Save(*trainer, ""));
  ModelConfig larger = c;
  larger.num_hidden_layers = 4;
  const Path step = store.Newest().value();
  Manifest manifest = LoadManifest(step).value();
  manifest.config = ConfigJson(larger);
  ASSERT_TRUE(WriteFileAtomic(step / kManifestName, ManifestText(manifest)));
  const Status exported = ExportModelFolder(
      {.checkpoint = step, .source = f.Source(larger), .out = f.dir / "model", .progress = nullptr}, f.pool);
  ASSERT_FALSE(exported);
  EXPECT_NE(exported.error().message.find("the checkpoint has 0 of"), std::string::npos) << exported.error().message;
  EXPECT_FALSE(std::filesystem::exists(f.dir / "model"));
}

}  // namespace
}  // namespace hadal::train
