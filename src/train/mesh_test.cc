// A mesh of ranks trains what one rank trains: every factorisation of 8, within the gates of
// docs/numerics.md.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "parallel/thread_communicator.h"
#include "train/train_test_util.h"

namespace hadal::train {
namespace {

constexpr int64_t kMicroBatches = 8;  // of an update, over all replicas

/// Enough heads, layers and experts for eight ranks along any axis.
ModelConfig EightWays() {
  ModelConfig c = SmallConfig();
  c.num_attention_heads = 8;
  c.num_hidden_layers = 8;
  return c;
}

template <typename T>
struct Outcome {
  std::map<std::string, std::vector<T>> tensors;  // whole ones
  std::map<int64_t, std::vector<T>> biases;
  std::vector<StepReport> reports;
};

/// Puts a rank's parts into whole tensors.
template <typename T>
Status Collect(const ShardSet<T>& set, std::map<std::string, std::vector<T>>& tensors) {
  for (size_t i = 0; i < set.shards().size(); ++i) {
    const Shard& s = set.shards()[i];
    std::vector<T>& whole = tensors[s.name];
    whole.resize(static_cast<size_t>(s.full_rows * s.full_cols), T(NAN));
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t k = 0; k < s.cols; ++k) {
        T& element = whole[static_cast<size_t>((s.row + r) * s.full_cols + s.col + k)];
        const T mine = set.parameter(i).value.at(r, k);
        if (!std::isnan(element) && element != mine) return DataLoss("{}: two ranks disagree", s.name);
        element = mine;
      }
  }
  return {};
}

/// Trains `steps` updates on the mesh; ranks are threads. Every rank writes its parts into the outcome's
/// tensors, and parts that several have must be the same bits.
template <typename T>
Result<Outcome<T>> Train(const ModelConfig& c, const MeshShape& shape, TrainerOptions o, int64_t steps) {
  o.accumulation_steps = kMicroBatches / shape.data;
  Outcome<T> outcome;
  for (const TensorSpec& spec : ExpectedTensors(c))
    if (spec.copy_of.empty() && spec.kind != TensorKind::kRouterBias)
      outcome.tensors[spec.name].assign(static_cast<size_t>(spec.Elements()), T(NAN));
  std::mutex mutex;
  RETURN_IF_ERROR(RunRanks(shape.ranks(), std::chrono::seconds(300), [&](Communicator& world) -> Status {
    ASSIGN_OR_RETURN(const auto mesh, ProcessMesh::Create(world, shape));
    ThreadPool pool(1);
    ASSIGN_OR_RETURN(const auto trainer, Trainer<T>::Create(c, *mesh, pool, o));
    trainer->Initialize(11);
    for (int64_t step = 0; step < steps; ++step) {
      std::vector<MicroBatch> batches;
      for (int64_t i = 0; i < o.accumulation_steps; ++i)
        batches.push_back(
            RandomBatch(c, o.micro_batch_size, o.sequence_length, 5,
                        static_cast<uint64_t>(step * 100 + mesh->replica() * o.accumulation_steps + i)));
      ASSIGN_OR_RETURN(const StepReport report, trainer->Step(batches));
      if (world.rank() == 0) outcome.reports.push_back(report);
    }
    const std::lock_guard lock(mutex);
    for (const ShardSet<T>* set :
         std::initializer_list<const ShardSet<T>*>{&trainer->params(), &trainer->trained()})
      RETURN_IF_ERROR(Collect(*set, outcome.tensors));
    for (const auto& bias : trainer->params().biases()) outcome.biases[bias.layer] = bias.values;
    return {};
  }));
  return outcome;
}

/// |a - b| / |a| of the worst tensor, in the Euclidean norm (AdamW divides small gradients by their own size,
/// so that the rounding of one element may grow without bound); infinite where a value is missing or router
/// biases differ.
template <typename T>
double Distance(const Outcome<T>& a, const Outcome<T>& b) {
  if (a.biases != b.biases) return INFINITY;
  double worst = 0;
  for (const auto& [name, values] : a.tensors) {
    const auto found = b.tensors.find(name);
    if (found == b.tensors.end() || found->second.size() != values.size()) return INFINITY;
    double squares = 0, distance = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double x = values[i], y = found->second[i];
      if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
      squares += x * x;
      distance += (x - y) * (x - y);
    }
    worst = std::max(worst, std::sqrt(distance / squares));
  }
  return worst;
}

std::vector<MeshShape> FactorisationsOf8() {
  std::vector<MeshShape> shapes;
  for (const int tensor : {1, 2, 4, 8})
    for (int pipeline = 1; tensor * pipeline <= 8; pipeline *= 2)
      for (int data = 8 / tensor / pipeline, expert = 1; expert <= data; expert *= 2)
        shapes.push_back({.tensor = tensor, .pipeline = pipeline, .data = data, .expert = expert});
  return shapes;
}

class Mesh : public testing::TestWithParam<MeshShape> {};

TEST_P(Mesh, TrainsInDoubleWhatOneRankTrains) {
  const ModelConfig c = EightWays();
  TrainerOptions o = SmallOptions(Compute::kF64);
  o.sequence_length = 9;
  o.micro_batch_size = 1;
  static const Outcome<double> alone = Train<double>(c, {}, o, 3).value();
  const MeshShape& shape = GetParam();
  o.schedule = shape.pipeline % 4 == 2 ? PipelineSchedule::kGPipe : PipelineSchedule::k1F1B;
  o.checkpointing = shape.expert == 2   ? Checkpointing::kFull
                    : shape.expert == 4 ? Checkpointing::kSelective
                                        : Checkpointing::kNone;
  const Result<Outcome<double>> run = Train<double>(c, shape, o, 3);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_LT(Distance(alone, *run), 1e-12);
  for (size_t i = 0; i < alone.reports.size(); ++i) {
    const StepReport &a = alone.reports[i], &b = run->reports[i];
    EXPECT_NEAR(a.loss, b.loss, 1e-12);
    EXPECT_NEAR(a.mtp_loss, b.mtp_loss, 1e-12);
    EXPECT_NEAR(a.balance_loss, b.balance_loss, 1e-12);
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-11);
    EXPECT_EQ(a.load_imbalance, b.load_imbalance);
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.accuracy, b.accuracy);
  }
}

INSTANTIATE_TEST_SUITE_P(FactorisationsOf8, Mesh, testing::ValuesIn(FactorisationsOf8()),
                         [](const auto& info) {
                           const MeshShape& s = info.param;
                           return fmt::format("tensor{}_pipeline{}_data{}_expert{}", s.tensor, s.pipeline,
                                              s.data, s.expert);
                         });

TEST_P(Mesh, TrainsTheSameAdapters) {
  const ModelConfig c = EightWays();
  TrainerOptions o = SmallOptions(Compute::kF64);
  o.sequence_length = 9;
  o.micro_batch_size = 1;
  // AdamW divides a gradient by its own size, so that one of nearly nothing may turn with a rounding; not
  // with this.
  o.adam.epsilon = 1e-4;
  o.lora = {.rank = 3, .alpha = 6, .targets = "all", .seed = 4, .base = ""};
  static const Outcome<double> alone = Train<double>(c, {}, o, 3).value();
  const Result<Outcome<double>> run = Train<double>(c, GetParam(), o, 3);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_GT(run->tensors.count("model.layers.3.mlp.experts.2.up_proj.lora_B.weight"), 0u);
  EXPECT_LT(Distance(alone, *run), 1e-12);
  for (size_t i = 0; i < alone.reports.size(); ++i) {
    EXPECT_NEAR(alone.reports[i].loss, run->reports[i].loss, 1e-12);
    EXPECT_NEAR(alone.reports[i].gradient_norm, run->reports[i].gradient_norm, 1e-11);
  }
}

/// Relative difference of the losses after `steps` updates.
double LossDistance(const ModelConfig& c, Compute compute, const MeshShape& shape, int64_t steps,
                    GradientCompression compression) {
  TrainerOptions o = SmallOptions(compute);
  o.sequence_length = 8;
  o.micro_batch_size = 1;
  o.rate.peak = 1e-3;
  const auto alone = Train<float>(c, {}, o, steps).value();
  o.compression = compression;
  const auto mesh = Train<float>(c, shape, o, steps).value();
  return std::abs(alone.reports.back().loss - mesh.reports.back().loss) / alone.reports.back().loss;
}

ModelConfig TwoLayers() {
  ModelConfig c = EightWays();
  c.num_hidden_layers = 2;
  return c;
}

TEST(MeshPrecision, StaysWithinTheGatesOver100Steps) {
  const MeshShape shape{.tensor = 2, .pipeline = 2, .data = 2, .expert = 2};
  // Every expert takes every token: no choice can flip by a rounding, and what is left is arithmetic.
  ModelConfig c = TwoLayers();
  c.n_routed_experts = c.num_experts_per_tok = 4;
  c.n_group = c.topk_group = 1;
  EXPECT_LT(LossDistance(c, Compute::kF32, shape, 100, GradientCompression::kNone), 1e-5);
  EXPECT_LT(LossDistance(TwoLayers(), Compute::kBF16, shape, 100, GradientCompression::kNone), 1e-2);
}

TEST(MeshPrecision, CompressedGradientsTrainAsWellAndHalveTheTraffic) {
  const MeshShape shape{.data = 4, .expert = 2};
  for (const auto compression : {GradientCompression::kBF16, GradientCompression::kFP16})
    EXPECT_LT(LossDistance(TwoLayers(), Compute::kF32, shape, 30, compression), 1e-2);
  TrainerOptions o = SmallOptions(Compute::kF32);
  o.compression = GradientCompression::kBF16;
  const auto run = Train<float>(EightWays(), shape, o, 1).value();
  EXPECT_EQ(2 * run.reports[0].bytes_reduced, run.reports[0].bytes_uncompressed);
  EXPECT_GT(run.reports[0].bytes_reduced, 0);
}

}  // namespace
}  // namespace hadal::train
