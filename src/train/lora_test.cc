#include "train/lora.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "model/config_writer.h"
#include "model/convert.h"
#include "model/lora.h"
#include "train/checkpoint/adapter_folder.h"
#include "train/checkpoint/checkpoint_store.h"
#include "train/checkpoint/model_folder.h"
#include "train/train_test_util.h"

namespace hadal::train {
namespace {

TrainerOptions LoraTraining(Compute compute, const std::string& targets) {
  TrainerOptions o = SmallOptions(compute);
  o.lora = {.rank = 3, .alpha = 6, .targets = targets, .seed = 5, .base = ""};
  return o;
}

std::vector<MicroBatch> Batches(const ModelConfig& c, const TrainerOptions& o, int64_t step) {
  std::vector<MicroBatch> batches;
  for (int64_t i = 0; i < o.accumulation_steps; ++i)
    batches.push_back(
        RandomBatch(c, o.micro_batch_size, o.sequence_length, 3, static_cast<uint64_t>(step * 100 + i)));
  return batches;
}

template <typename T>
struct Alone {
  Alone(const ModelConfig& config, const TrainerOptions& options, int threads = 1) : pool(threads) {
    mesh = ProcessMesh::Create(world, {}).value();
    trainer = Trainer<T>::Create(config, *mesh, pool, options).value();
    trainer->Initialize(7);
  }
  LoopbackCommunicator world;
  ThreadPool pool;
  std::unique_ptr<ProcessMesh> mesh;
  std::unique_ptr<Trainer<T>> trainer;
};

template <typename T>
std::map<std::string, std::vector<T>> ValuesOf(const ShardSet<T>& set) {
  std::map<std::string, std::vector<T>> values;
  for (size_t i = 0; i < set.shards().size(); ++i) {
    const View<T> v = set.parameter(i).value;
    values[set.shards()[i].name].assign(v.data, v.data + v.rows * v.cols);
  }
  return values;
}

std::set<std::string> TargetNames(const ModelConfig& c, const LoraOptions& o) {
  std::set<std::string> names;
  const std::vector<TensorSpec> targets = LoraTargets(c, o).value();
  for (const TensorSpec& spec : targets) names.insert(spec.name);
  return names;
}

/// Fills every factor, B too, with numbers of one size.
template <typename T>
void Randomize(ShardSet<T>& factors) {
  for (size_t i = 0; i < factors.shards().size(); ++i)
    FillRandom(factors.shards()[i], 99, 0.2f, factors.parameter(i).value);
}

TEST(Lora, TargetsAreNamedOrRefused) {
  const ModelConfig c = SmallConfig();
  const auto names = [&](const std::string& targets) {
    return TargetNames(c, {.rank = 2, .targets = targets});
  };
  EXPECT_EQ(names("attention").size(), 4u * 5);  // three layers and one that predicts, of five projections
  EXPECT_EQ(names("o_proj").size(), 4u);
  EXPECT_EQ(names("layers.1.self_attn.o_proj"),
            std::set<std::string>{"model.layers.1.self_attn.o_proj.weight"});
  EXPECT_EQ(names("shared_experts.up_proj,mlp.up_proj").size(), 3u + 1);
  EXPECT_EQ(names("all").size(), 4u * 5 + 3 + 3 * 3 * (8 + 1));
  for (const char* bad :
       {"", "oproj", "_proj", "o_proj,", "lm_head", "gate", "embed_tokens", "attention,all"}) {
    const auto refused = LoraTargets(c, {.rank = 2, .targets = bad});
    ASSERT_FALSE(refused) << bad;
    EXPECT_NE(refused.error().message.find("ends no name of a Linear"), std::string::npos);
  }
  EXPECT_FALSE(LoraTargets(c, {.rank = 1 << 20}));
  EXPECT_FALSE(LoraTargets(c, {.rank = 1, .alpha = NAN}));
}

TEST(Lora, WeightsAreTheBasePlusTheProductOfTheFactors) {
  const ModelConfig c = SmallConfig();
  const TrainerOptions o = LoraTraining(Compute::kF64, "all");
  Alone<double> alone(c, o, 2);
  Trainer<double>& trainer = *alone.trainer;
  const auto before = ValuesOf<double>(trainer.params());
  // B is zero: nothing changes.
  trainer.FollowTrained();
  EXPECT_EQ(ValuesOf<double>(trainer.params()), before);
  Randomize(trainer.trained());
  trainer.FollowTrained();
  auto factors = ValuesOf<double>(trainer.trained());
  int adapted = 0;
  for (size_t i = 0; i < trainer.params().shards().size(); ++i) {
    const Shard& s = trainer.params().shards()[i];
    const View<double> w = trainer.params().parameter(i).value;
    const auto a = factors.find(LoraFactorName(s.name, 'A')), b = factors.find(LoraFactorName(s.name, 'B'));
    ASSERT_EQ(a == factors.end(), b == factors.end());
    for (int64_t r = 0; r < w.rows; ++r)
      for (int64_t k = 0; k < w.cols; ++k) {
        double expected = before.at(s.name)[static_cast<size_t>(r * w.cols + k)];
        for (int64_t j = 0; j < 3 && a != factors.end(); ++j)
          expected +=
              2 * b->second[static_cast<size_t>(r * 3 + j)] * a->second[static_cast<size_t>(j * w.cols + k)];
        ASSERT_NEAR(w.at(r, k), expected, 1e-14) << s.name;
      }
    adapted += a != factors.end();
  }
  EXPECT_EQ(adapted, 4 * 5 + 3 + 3 * 3 * 9);
}

/// The loss whose gradient is in the factors.
double Objective(Trainer<double>& trainer, const TrainerOptions& o, std::span<const MicroBatch> batches) {
  trainer.FollowTrained();
  // A step of rate 0 computes everything and moves nothing.
  const StepReport r = trainer.Step(batches).value();
  return r.loss + o.mtp_weight * r.mtp_loss + o.balance_weight * r.balance_loss;
}

TEST(Lora, GradientsAreThoseOfCentralDifferences) {
  const ModelConfig c = SmallConfig();
  TrainerOptions o = LoraTraining(Compute::kF64, "all");
  o.rate.peak = 1e-300;
  o.adam.weight_decay = 0;
  Alone<double> alone(c, o);
  Trainer<double>& trainer = *alone.trainer;
  ShardSet<double>& factors = trainer.trained();
  Randomize(factors);
  const auto batches = Batches(c, o, 0);
  ASSERT_GT(Objective(trainer, o, batches), 1);
  std::map<std::string, std::vector<double>> gradients;
  for (size_t i = 0; i < factors.shards().size(); ++i) {
    const View<double> g = factors.parameter(i).grad;
    gradients[factors.shards()[i].name].assign(g.data, g.data + g.rows * g.cols);
  }
  int64_t not_zero = 0;
  for (size_t i = 0; i < factors.shards().size(); ++i) {
    const Shard& s = factors.shards()[i];
    for (int64_t probe = 0; probe < 2; ++probe) {
      const int64_t at = (probe * 7919 + static_cast<int64_t>(i) * 31) % s.elements();
      double* x = factors.parameter(i).value.data + at;
      const double before = *x, h = 1e-5;
      *x = before + h;
      const double up = Objective(trainer, o, batches);
      *x = before - h;
      const double down = Objective(trainer, o, batches);
      *x = before;
      const double numeric = (up - down) / (2 * h), analytic = gradients[s.name][static_cast<size_t>(at)];
      EXPECT_NEAR(analytic, numeric, 1e-8 + 1e-5 * std::abs(numeric)) << s.name << " element " << at;
      not_zero += std::abs(analytic) > 1e-7;
    }
  }
  EXPECT_GT(not_zero, static_cast<int64_t>(factors.shards().size()));
}

TEST(Lora, TrainingLowersTheLossAndChangesTheTargetsAlone) {
  const ModelConfig c = SmallConfig();
  for (const Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16}) {
    TrainerOptions o =
        LoraTraining(compute, "o_proj,kv_b_proj,mlp.down_proj,shared_experts.down_proj,experts.3.up_proj");
    o.rate.total_steps = 300;
    o.lora.rank = 8;
    o.lora.alpha = 32;
    o.adam.weight_decay = 0;
    o.initial_loss_scale = 1 << 20;
    Alone<float> alone(c, o);
    Trainer<float>& trainer = *alone.trainer;
    // The head stays as it is: one that says something.
    const View<float> head = trainer.params().head->value;
    for (int64_t i = 0; i < head.rows * head.cols; ++i) head.data[i] *= 20;
    const auto before = ValuesOf<float>(trainer.params());
    const auto biases = trainer.params().biases()[0].values;
    const auto batches = Batches(c, o, 0);
    StepReport first, last;
    for (int64_t step = 0; step < 150; ++step) {
      const Result<StepReport> r = trainer.Step(batches);
      ASSERT_TRUE(r) << r.error().message;
      (step == 0 ? first : last) = *r;
    }
    EXPECT_LT(last.loss, 0.75 * first.loss) << static_cast<int>(compute);
    const std::set<std::string> targets = TargetNames(c, o.lora);
    for (const auto& [name, values] : ValuesOf<float>(trainer.params()))
      EXPECT_EQ(values != before.at(name), targets.contains(name)) << name;
    EXPECT_EQ(trainer.params().biases()[0].values, biases);
  }
}

TEST(Lora, ThreadsChangeNoBit) {
  const ModelConfig c = SmallConfig();
  std::map<std::string, std::vector<float>> reference;
  for (const int threads : {1, 3}) {
    const TrainerOptions o = LoraTraining(Compute::kBF16, "all");
    Alone<float> alone(c, o, threads);
    for (int64_t step = 0; step < 3; ++step) ASSERT_TRUE(alone.trainer->Step(Batches(c, o, step)));
    const auto values = ValuesOf<float>(alone.trainer->params());
    if (reference.empty()) reference = values;
    EXPECT_EQ(values, reference) << threads << " threads";
  }
}

TEST(Lora, TheOptimizerKeepsMomentsOfTheFactorsAlone) {
  const ModelConfig c = SmallConfig();
  LoopbackCommunicator world;
  const auto mesh = ProcessMesh::Create(world, {}).value();
  const auto full = Trainer<float>::Plan(c, *mesh, 1, SmallOptions(Compute::kF32)).value();
  const TrainerOptions o = LoraTraining(Compute::kF32, "attention");
  const auto lora = Trainer<float>::Plan(c, *mesh, 1, o).value();
  EXPECT_LT(lora.optimizer, full.optimizer / 5);
  EXPECT_LT(lora.total(), full.total());
  Alone<float> alone(c, o);
  int64_t factors = 0;
  for (const Shard& s : alone.trainer->trained().shards()) factors += s.elements();
  EXPECT_EQ(lora.optimizer, static_cast<uint64_t>(2 * factors) * sizeof(float));
  EXPECT_EQ(alone.trainer->optimizer().dense().m.size(), static_cast<size_t>(factors));
}

class LoraFolder : public testing::Test {
 protected:
  LoraFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-lora-XXXXXX").string();
    dir_ = mkdtemp(name.data());
  }
  ~LoraFolder() override { std::filesystem::remove_all(dir_); }

  /// A model folder of bf16 weights, made by full training of no step.
  Path Base() {
    const ModelConfig c = SmallConfig();
    std::filesystem::create_directories(dir_ / "source");
    EXPECT_TRUE(WriteFileAtomic(dir_ / "source/config.json", ConfigJson(c)));
    Alone<float> alone(c, SmallOptions(Compute::kF32));
    CheckpointStore store(dir_ / "checkpoints-base", 1);
    EXPECT_TRUE(store.Save(*alone.trainer, ""));
    EXPECT_TRUE(ExportModelFolder({.checkpoint = store.Newest().value(),
                                   .source = dir_ / "source",
                                   .out = dir_ / "base",
                                   .progress = nullptr},
                                  pool_));
    return dir_ / "base";
  }

  Path dir_;
  ThreadPool pool_{2};
};

TEST_F(LoraFolder, MergingTheExportedAdapterGivesTheWeightsThatWereTrained) {
  const Path base = Base();
  const ModelConfig c = LoadConfig(base).value();
  TrainerOptions o = LoraTraining(Compute::kF32, "all");
  o.lora.base = FolderFingerprint(base).value();
  Alone<float> alone(c, o);
  ASSERT_TRUE(LoadModelFolder(base, *alone.trainer));
  for (int64_t step = 0; step < 8; ++step) ASSERT_TRUE(alone.trainer->Step(Batches(c, o, step)));
  CheckpointStore store(dir_ / "checkpoints", 1);
  ASSERT_TRUE(store.Save(*alone.trainer, ""));
  const Status written = ExportAdapter(store.Newest().value(), o.lora, base, dir_ / "adapter");
  ASSERT_TRUE(written) << written.error().message;
  ConvertOptions merge;
  merge.in = base;
  merge.out = dir_ / "merged";
  merge.weights = "bf16";
  merge.adapter = dir_ / "adapter";
  const Status merged = Convert(merge, pool_);
  ASSERT_TRUE(merged) << merged.error().message;

  Alone<float> plain(LoadConfig(dir_ / "merged").value(), SmallOptions(Compute::kF32));
  ASSERT_TRUE(LoadModelFolder(dir_ / "merged", *plain.trainer));
  auto trained = ValuesOf<float>(alone.trainer->params());
  for (const auto& [name, values] : ValuesOf<float>(plain.trainer->params()))
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(values[i], RoundToBF16(trained[name][i])) << name << " " << i;
  // What the adapted model says of a text is what the merged one says.
  const auto batches = Batches(c, o, 77);
  const double adapted_loss = alone.trainer->Evaluate(batches).value().loss;
  EXPECT_NEAR(plain.trainer->Evaluate(batches).value().loss, adapted_loss, 1e-2 * adapted_loss);

  // Another model of the same shape: its embedding differs.
  Alone<float> other(c, SmallOptions(Compute::kF32));
  other.trainer->Initialize(1234);
  CheckpointStore others(dir_ / "checkpoints-other", 1);
  ASSERT_TRUE(others.Save(*other.trainer, ""));
  ASSERT_TRUE(ExportModelFolder({.checkpoint = others.Newest().value(), .source = base, .out = dir_ / "other",
                                 .progress = nullptr}, pool_));
  merge.in = dir_ / "other";
  merge.out = dir_ / "wrong";
  const Status refused = Convert(merge, pool_);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("was trained on another model"), std::string::npos)
      << refused.error().message;
  EXPECT_FALSE(std::filesystem::exists(dir_ / "wrong"));
}

TEST_F(LoraFolder, ACheckpointHoldsTheAdaptersAloneAndIsOfTheseAlone) {
  const ModelConfig c = SmallConfig();
  const TrainerOptions o = LoraTraining(Compute::kF32, "o_proj");
  Alone<float> alone(c, o);
  ASSERT_TRUE(alone.trainer->Step(Batches(c, o, 0)));
  CheckpointStore store(dir_, 1);
  ASSERT_TRUE(store.Save(*alone.trainer, ""));
  const Path step = store.Newest().value();
  const auto file = Checkpoint::OpenFile(step / "rank-00000.safetensors").value();
  EXPECT_EQ(file->tensors().size(), 4u * 2 * 3);
  for (const TensorInfo& tensor : file->tensors())
    EXPECT_NE(tensor.name.find(".o_proj.lora_"), std::string::npos);
  TrainerOptions other = o;
  other.lora.alpha = 7;
  for (const TrainerOptions& wrong : {other, SmallOptions(Compute::kF32)}) {
    Alone<float> fresh(c, wrong);
    const auto loaded = CheckpointStore::Load(step, *fresh.trainer);
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().message.find("with adapters of rank 3, alpha 6, targets o_proj"),
              std::string::npos)
        << loaded.error().message;
  }
}

}  // namespace
}  // namespace hadal::train
