#include "train/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "train/memory_check.h"
#include "train/train_test_util.h"

namespace hadal::train {
namespace {

std::vector<MicroBatch> Batches(const ModelConfig& c, const TrainerOptions& o, int64_t step) {
  std::vector<MicroBatch> batches;
  for (int64_t i = 0; i < o.accumulation_steps; ++i)
    batches.push_back(RandomBatch(c, o.micro_batch_size, o.sequence_length, 3, step * 100 + i));
  return batches;
}

template <typename T>
struct Alone {
  explicit Alone(const ModelConfig& config, const TrainerOptions& options, int threads = 1) : pool(threads) {
    mesh = ProcessMesh::Create(world, {}).value();
    trainer = Trainer<T>::Create(config, *mesh, pool, options).value();
    trainer->Initialize(7);
  }
  LoopbackCommunicator world;
  ThreadPool pool;
  std::unique_ptr<ProcessMesh> mesh;
  std::unique_ptr<Trainer<T>> trainer;
};

/// The loss whose gradient is in the parameters, in double.
double Objective(Trainer<double>& trainer, const TrainerOptions& o, std::span<const MicroBatch> batches) {
  // A step of rate 0 computes everything and moves nothing.
  const StepReport r = trainer.Step(batches).value();
  return r.loss + o.mtp_weight * r.mtp_loss + o.balance_weight * r.balance_loss;
}

/// Central differences of the whole model: every tensor, several of its elements.
void CheckGradients(const ModelConfig& c, Checkpointing mode) {
  TrainerOptions o = SmallOptions(Compute::kF64);
  o.checkpointing = mode;
  o.rate.peak = 1e-300;
  o.adam.weight_decay = 0;
  o.bias_update = 0;
  Alone<double> alone(c, o);
  const auto batches = Batches(c, o, 0);
  ParameterSet<double>& params = alone.trainer->params();
  // Some bias, so that selection and weights differ.
  for (auto& bias : params.biases())
    for (size_t e = 0; e < bias.values.size(); ++e) bias.values[e] = 0.05 * static_cast<double>(e % 3);
  ASSERT_GT(Objective(*alone.trainer, o, batches), 1);
  const auto group = params.dense();
  std::vector<double> dense(group.grads.begin(), group.grads.end());
  const auto routed = params.experts();
  std::vector<double> experts(routed.grads.begin(), routed.grads.end());
  int64_t not_zero = 0;
  for (size_t i = 0; i < params.shards().size(); ++i) {
    const Parameter<double>& p = params.parameter(i);
    const bool is_expert = params.shards()[i].expert;
    const int64_t n = params.shards()[i].elements();
    for (int64_t probe = 0; probe < 3; ++probe) {
      const int64_t at = (probe * 7919 + static_cast<int64_t>(i) * 31) % n;
      double* w = p.value.data + at;
      const double analytic = is_expert ? experts[p.grad.data + at - routed.grads.data()]
                                        : dense[p.grad.data + at - group.grads.data()];
      const double before = *w, h = 1e-5 * std::max(1.0, std::abs(before));
      *w = before + h;
      const double up = Objective(*alone.trainer, o, batches);
      *w = before - h;
      const double down = Objective(*alone.trainer, o, batches);
      *w = before;
      const double numeric = (up - down) / (2 * h);
      EXPECT_NEAR(analytic, numeric, 1e-8 + 1e-5 * std::abs(numeric))
          << params.shards()[i].name << " element " << at;
      not_zero += std::abs(analytic) > 1e-7;
    }
  }
  EXPECT_GT(not_zero, static_cast<int64_t>(params.shards().size()));
}

TEST(Trainer, GradientsOfTheWholeModelAreThoseOfCentralDifferences) {
  CheckGradients(SmallConfig(), Checkpointing::kNone);
}

TEST(Trainer, GradientsOfOtherMembersOfTheFamilyToo) {
  ModelConfig v2 = SmallConfig();
  v2.architecture = Architecture::kDeepseekV2;
  v2.q_lora_rank = 0;
  v2.scoring_func = Scoring::kSoftmax;
  v2.topk_method = TopkMethod::kGroupLimitedGreedy;
  v2.norm_topk_prob = false;
  v2.num_nextn_predict_layers = 0;
  v2.n_shared_experts = 2;
  CheckGradients(v2, Checkpointing::kSelective);
  ModelConfig tied = SmallConfig();
  tied.tie_word_embeddings = true;
  tied.expert_capacity = 9;
  tied.n_shared_experts = 0;
  CheckGradients(tied, Checkpointing::kFull);
}

TEST(Trainer, CheckpointingChangesNoBit) {
  const ModelConfig c = SmallConfig();
  std::vector<float> reference;
  for (const Checkpointing mode : {Checkpointing::kNone, Checkpointing::kSelective, Checkpointing::kFull}) {
    TrainerOptions o = SmallOptions(Compute::kF32);
    o.checkpointing = mode;
    Alone<float> alone(c, o);
    for (int64_t step = 0; step < 3; ++step) ASSERT_TRUE(alone.trainer->Step(Batches(c, o, step)));
    const auto values = alone.trainer->params().dense().values;
    if (reference.empty()) reference.assign(values.begin(), values.end());
    EXPECT_TRUE(std::equal(values.begin(), values.end(), reference.begin())) << static_cast<int>(mode);
  }
}

TEST(Trainer, ThreadsChangeNoBit) {
  const ModelConfig c = SmallConfig();
  for (const Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16}) {
    std::vector<float> reference;
    for (const int threads : {1, 2, 3}) {
      TrainerOptions o = SmallOptions(compute);
      o.initial_loss_scale = 256;
      Alone<float> alone(c, o, threads);
      for (int64_t step = 0; step < 3; ++step) ASSERT_TRUE(alone.trainer->Step(Batches(c, o, step)));
      const auto values = alone.trainer->params().dense().values;
      if (reference.empty()) reference.assign(values.begin(), values.end());
      EXPECT_TRUE(std::equal(values.begin(), values.end(), reference.begin())) << threads << " threads";
    }
  }
}

TEST(Trainer, LearnsABatchByHeartInEveryPrecision) {
  const ModelConfig c = SmallConfig();
  for (const Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16}) {
    TrainerOptions o = SmallOptions(compute);
    o.adam.weight_decay = 0;
    o.initial_loss_scale = 1 << 20;  // overflows first: the scale must come down by itself
    Alone<float> alone(c, o);
    const auto batches = Batches(c, o, 0);
    StepReport first, last;
    for (int64_t step = 0; step < 100; ++step) {
      const Result<StepReport> r = alone.trainer->Step(batches);
      ASSERT_TRUE(r) << r.error().message;
      (step == 0 ? first : last) = *r;
    }
    EXPECT_NEAR(first.loss, std::log(61.0), 0.3);
    EXPECT_LT(last.loss, 0.3) << static_cast<int>(compute);
    EXPECT_GT(last.accuracy, 0.9);
    EXPECT_LT(last.mtp_loss, 1);
  }
}

TEST(Trainer, NamesTheFirstOpThatGaveNoNumber) {
  const ModelConfig c = SmallConfig();
  const TrainerOptions o = SmallOptions(Compute::kF32);
  Alone<float> alone(c, o);
  // Finite, and too large for what follows.
  const auto& params = alone.trainer->params();
  for (size_t i = 0; i < params.shards().size(); ++i)
    if (params.shards()[i].name == "model.layers.1.self_attn.kv_b_proj.weight")
      params.parameter(i).value.at(0, 0) = 3e38f, params.parameter(i).value.at(0, 1) = 3e38f;
  const Result<StepReport> r = alone.trainer->Step(Batches(c, o, 0));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kDataLoss);
  EXPECT_NE(r.error().message.find("of layer 1"), std::string::npos) << r.error().message;

  Alone<float> other(c, o);
  other.trainer->params().final_norm->value.at(0, 3) = NAN;
  const Result<StepReport> named = other.trainer->Step(Batches(c, o, 0));
  ASSERT_FALSE(named);
  EXPECT_NE(named.error().message.find("the parameter model.norm.weight (element 3"), std::string::npos)
      << named.error().message;
}

/// The trainer's parameter of that name, to be spoilt.
View<float> Tensor(Trainer<float>& trainer, const std::string& name) {
  for (size_t i = 0; i < trainer.params().shards().size(); ++i)
    if (trainer.params().shards()[i].name == name) return trainer.params().parameter(i).value;
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

std::string StepError(const TrainerOptions& o, const std::function<void(Trainer<float>&)>& spoil) {
  Alone<float> alone(SmallConfig(), o);
  spoil(*alone.trainer);
  const Result<StepReport> r = alone.trainer->Step(Batches(SmallConfig(), o, 0));
  EXPECT_FALSE(r) << "the step went through with loss " << r->loss;
  return r ? "" : r.error().message;
}

TEST(Trainer, StopsAtAPredictionLayersLossThatIsNoNumber) {
  // Infinite logits of layer 3, the prediction layer, and of nothing else.
  const std::string error = StepError(SmallOptions(Compute::kF32), [](Trainer<float>& trainer) {
    const View<float> gain = trainer.params().mtp->head_norm.value, head = trainer.params().head->value;
    std::fill_n(gain.data, gain.cols, 3e38f);
    std::fill_n(head.data, head.rows * head.cols, 100.0f);
    const View<float> final_gain = trainer.params().final_norm->value;
    std::fill_n(final_gain.data, final_gain.cols, 1e-3f);
  });
  EXPECT_NE(error.find("step 0: the prediction layer's loss is not finite"), std::string::npos) << error;
  EXPECT_NE(error.find("'logits' of layer 3"), std::string::npos) << error;
}

TEST(Trainer, StopsAtABalanceLossThatIsNoNumber) {
  // Sigmoid scores that are all 0 have no shares. Weights and logits are finite.
  const std::string error = StepError(SmallOptions(Compute::kF32), [](Trainer<float>& trainer) {
    const View<float> norm = Tensor(trainer, "model.layers.2.post_attention_layernorm.weight");
    std::fill_n(norm.data, norm.cols, 0.0f);
    norm.data[0] = 1;
    const View<float> router = Tensor(trainer, "model.layers.2.mlp.gate.weight");
    for (int64_t e = 0; e < router.rows; ++e) router.at(e, 0) = 1e30f;
  });
  EXPECT_NE(error.find("step 0: the balance loss is not finite"), std::string::npos) << error;
  EXPECT_NE(error.find("the gradient of 'router logits' of layer 2"), std::string::npos) << error;
}

TEST(Trainer, NamesTheFirstGradientThatIsNoNumber) {
  // A loss with a weight near the largest float: its value is as it was, its gradient passes a head of large
  // weights.
  TrainerOptions o = SmallOptions(Compute::kF32);
  o.mtp_weight = 3e39;
  const std::string error = StepError(o, [](Trainer<float>& trainer) {
    const View<float> head = trainer.params().head->value;
    for (int64_t i = 0; i < head.rows * head.cols; ++i) head.data[i] = i % 7 == 0 ? 20.0f : -10.0f;
  });
  EXPECT_NE(error.find("step 0: the gradient's norm is not finite"), std::string::npos) << error;
  EXPECT_NE(error.find("the gradient of 'prediction head norm' of layer 3"), std::string::npos) << error;
}

TEST(Trainer, HalvesTheLossScaleWhereALossIsNoNumberUnderFP16) {
  const TrainerOptions o = SmallOptions(Compute::kF16);
  Alone<float> alone(SmallConfig(), o);
  alone.trainer->params().mtp->head_norm.value.at(0, 0) = 3e38f;
  const auto values = alone.trainer->params().dense().values;
  const std::vector<float> before(values.begin(), values.end());
  const Result<StepReport> r = alone.trainer->Step(Batches(SmallConfig(), o, 0));
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_TRUE(r->skipped);
  EXPECT_EQ(alone.trainer->loss_scale().value(), o.initial_loss_scale / 2);
  EXPECT_TRUE(std::ranges::equal(values, before));
  // At the least scale there is nothing left to try.
  alone.trainer->loss_scale().Restore(1, 0);
  const Result<StepReport> stopped = alone.trainer->Step(Batches(SmallConfig(), o, 1));
  ASSERT_FALSE(stopped);
  EXPECT_NE(stopped.error().message.find("step 1: the prediction layer's loss"), std::string::npos)
      << stopped.error().message;
}

TEST(Trainer, ReportsTheShareOfCopiesBeyondCapacity) {
  const TrainerOptions o = SmallOptions(Compute::kF32);
  ModelConfig c = SmallConfig();
  EXPECT_EQ(Alone<float>(c, o).trainer->Step(Batches(c, o, 0)).value().dropped_share, 0) << "dropless by default";
  c.expert_capacity = 1;  // of 26 tokens with 3 copies each, 8 experts take one
  const double one = Alone<float>(c, o).trainer->Step(Batches(c, o, 0)).value().dropped_share;
  EXPECT_GE(one, 1 - 8.0 / 78);
  EXPECT_LT(one, 1);
  c.expert_capacity = 26;
  EXPECT_EQ(Alone<float>(c, o).trainer->Step(Batches(c, o, 0)).value().dropped_share, 0);
}

TEST(Trainer, TakesTheMemoryThatItPlans) {
  const ModelConfig c = SmallConfig();
  const TrainerOptions o = SmallOptions(Compute::kF32);
  LoopbackCommunicator world;
  const auto mesh = ProcessMesh::Create(world, {}).value();
  const TrainerPlan plan = Trainer<float>::Plan(c, *mesh, 1, o).value();
  TrainerOptions full = o;
  full.checkpointing = Checkpointing::kFull;
  TrainerOptions selective = o;
  selective.checkpointing = Checkpointing::kSelective;
  ModelConfig deep = c;
  deep.num_hidden_layers = 12;
  const auto activations = [&](const TrainerOptions& options) {
    return Trainer<float>::Plan(deep, *mesh, 1, options).value().activations;
  };
  EXPECT_LT(activations(full), activations(selective));
  EXPECT_LT(activations(selective), activations(o));
  EXPECT_EQ(plan.parameters, plan.gradients);
  EXPECT_GT(plan.optimizer, plan.parameters);
}

TEST(Trainer, PlansMillionsOfMicroBatchesWithoutLayingThemOut) {
  const ModelConfig c = SmallConfig();
  LoopbackCommunicator world;
  const auto mesh = ProcessMesh::Create(world, {}).value();
  TrainerOptions o = SmallOptions(Compute::kF32);
  o.schedule = PipelineSchedule::kGPipe;
  const auto plan = [&](int64_t micro_batches) {
    o.accumulation_steps = micro_batches;
    return Trainer<float>::Plan(c, *mesh, 1, o).value();
  };
  const uint64_t one = plan(1).activations, each = plan(2).activations - one;
  EXPECT_EQ(plan(7).activations, one + 6 * each);
  TrainerPlan most = plan(1 << 24);
  EXPECT_EQ(most.activations, one + ((uint64_t{1} << 24) - 1) * each);
  most.data = most.total();
  const Status refused = CheckMemory<float>(c, *mesh, 1, o, most, 1 << 30);
  ASSERT_FALSE(refused);
  for (const char* remedy : {"pipeline_schedule 1f1b (", "prefetch or gradient_accumulation_steps"})
    EXPECT_NE(refused.error().message.find(remedy), std::string::npos) << refused.error().message;
}

TEST(Trainer, RefusesOptionsThatMakeNoSense) {
  LoopbackCommunicator world;
  ThreadPool pool(1);
  const auto mesh = ProcessMesh::Create(world, {}).value();
  TrainerOptions o = SmallOptions(Compute::kF32);
  o.sequence_length = 1;
  EXPECT_FALSE(Trainer<float>::Create(SmallConfig(), *mesh, pool, o));
  o = SmallOptions(Compute::kF32);
  o.rate.peak = -1;
  EXPECT_FALSE(Trainer<float>::Create(SmallConfig(), *mesh, pool, o));
  o = SmallOptions(Compute::kF32);
  o.adam.beta1 = 1;
  EXPECT_FALSE(Trainer<float>::Create(SmallConfig(), *mesh, pool, o));
  ModelConfig c = SmallConfig();
  c.num_nextn_predict_layers = 2;
  EXPECT_FALSE(Trainer<float>::Create(c, *mesh, pool, SmallOptions(Compute::kF32)));
}

}  // namespace
}  // namespace hadal::train
