#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "base/cpu_info.h"
#include "model/synth_weights.h"
#include "train/finite_probe.h"
#include "train/ops/router.h"

namespace hadal::train {
namespace {

template <typename T>
std::span<const std::byte> Bytes(View<const T> x) {
  return std::as_bytes(std::span(x.data, static_cast<size_t>(x.rows * x.cols)));
}

ScratchLimits LimitsOf(const ModelConfig& c, const TrainerOptions& o) {
  return {.rows = o.micro_batch_rows(),
          .nope = c.qk_nope_head_dim,
          .rope = c.qk_rope_head_dim,
          .value = c.v_head_dim,
          .f64 = o.compute == Compute::kF64};
}

StageLimits LimitsOf(const ProcessMesh& mesh, const TrainerOptions& o) {
  return {.rows = o.micro_batch_rows(),
          .slots = PipelineSlots(o.schedule, mesh.shape().pipeline, mesh.stage(), o.accumulation_steps),
          .checkpointing = o.checkpointing};
}

/// Linears as a synthesized model has them; embedding and head small, so that the first loss is that of a
/// guess and words move apart quickly.
float InitialDeviation(const Shard& s, const ModelConfig& config) {
  if (s.kind == TensorKind::kEmbedding || s.kind == TensorKind::kHead) return 0.02f;
  return DistributionOf({.name = s.name, .shape = {s.full_rows, s.full_cols}, .kind = s.kind, .copy_of = ""},
                        config)
      .deviation;
}

// Tokens of a micro-batch: far more than fit, and few enough that the plan's arithmetic neither wraps nor takes memory.
constexpr int64_t kMostRows = int64_t{1} << 24;

Status Check(const TrainerOptions& o) {
  if (o.sequence_length < 2 || o.micro_batch_size < 1 || o.accumulation_steps < 1)
    return InvalidArgument(
        "sequences of {} tokens, {} in a micro-batch, {} micro-batches in an update; a sequence needs "
        "2 tokens, the rest at least 1",
        o.sequence_length, o.micro_batch_size, o.accumulation_steps);
  if (o.micro_batch_size > kMostRows / o.sequence_length || o.accumulation_steps > kMostRows)
    return InvalidArgument(
        "micro_batch_size {} x sequence_length {} tokens in {} micro-batches; a micro-batch has at most {} "
        "tokens, an update at most as many micro-batches",
        o.micro_batch_size, o.sequence_length, o.accumulation_steps, kMostRows);
  const AdamWOptions& a = o.adam;
  if (!(a.beta1 >= 0 && a.beta1 < 1) || !(a.beta2 >= 0 && a.beta2 < 1))
    return InvalidArgument(
        "beta1 {} and beta2 {}; each is at least 0 and below 1 (at 1 a moment would never take in a "
        "gradient)",
        a.beta1, a.beta2);
  if (!(a.epsilon > 0) || !(a.weight_decay >= 0) || !(a.clip_norm >= 0))
    return InvalidArgument(
        "epsilon {}, weight decay {} and clip norm {}; the first is above 0, none is negative", a.epsilon,
        a.weight_decay, a.clip_norm);
  if (!(o.mtp_weight >= 0) || !(o.balance_weight >= 0) || !(o.bias_update >= 0))
    return InvalidArgument("mtp weight {}, balance weight {} and bias update {}; none may be negative",
                           o.mtp_weight, o.balance_weight, o.bias_update);
  return o.rate.Check();
}

/// Which loss of a step is no number; empty: none.
std::string_view NotFinite(const StepReport& r) {
  if (!std::isfinite(r.loss)) return "the loss";
  if (!std::isfinite(r.mtp_loss)) return "the prediction layer's loss";
  return std::isfinite(r.balance_loss) ? "" : "the balance loss";
}

}  // namespace

template <typename T>
Result<TrainerPlan> Trainer<T>::Plan(const ModelConfig& config, const ProcessMesh& mesh, int threads,
                                     const TrainerOptions& options) {
  RETURN_IF_ERROR(Check(options));
  ASSIGN_OR_RETURN(const std::vector<Shard> shards, PlaceParameters(config, mesh));
  TrainerPlan plan;
  plan.parameters = plan.gradients = static_cast<uint64_t>(PlannedElements(shards, mesh)) * sizeof(T);
  if (options.lora.on()) {
    ASSIGN_OR_RETURN(const LoraPlan lora, LoraPlan::Of(config, shards, mesh, options.lora));
    const uint64_t factors = static_cast<uint64_t>(PlannedElements(lora.factors, mesh)) * sizeof(T);
    plan.parameters += factors + static_cast<uint64_t>(lora.base_elements) * sizeof(T);
    plan.gradients += factors;
    plan.optimizer = AdamW<T>::PlannedBytes(lora.factors, mesh, options.compression);
  } else {
    plan.optimizer = AdamW<T>::PlannedBytes(shards, mesh, options.compression);
  }
  plan.activations = Stage<T>::PlannedBytes(config, mesh, LimitsOf(mesh, options)) +
                     static_cast<uint64_t>(options.micro_batch_rows() * config.hidden_size) * sizeof(T);
  plan.scratch = OpScratch::PlannedBytes(LimitsOf(config, options), threads) +
                 GemmContext::PlannedBytes(CpuGemm(BestIsa()), threads);
  return plan;
}

template <typename T>
Result<std::unique_ptr<Trainer<T>>> Trainer<T>::Create(const ModelConfig& config, const ProcessMesh& mesh,
                                                       ThreadPool& pool, const TrainerOptions& options) {
  RETURN_IF_ERROR(Check(options));
  std::unique_ptr<Trainer> made(new Trainer(config, mesh, options));
  ASSIGN_OR_RETURN(made->params_, ParameterSet<T>::Create(config, mesh));
  if (options.lora.on()) {
    ASSIGN_OR_RETURN(made->lora_, Lora<T>::Create(config, *made->params_, mesh, options.lora));
  }
  ASSIGN_OR_RETURN(made->optimizer_,
                   AdamW<T>::Create(made->trained(), mesh, options.adam, options.compression));
  const Isa isa = BestIsa();
  ASSIGN_OR_RETURN(GemmContext gemm, GemmContext::Create(CpuGemm(isa), pool));
  made->gemm_.emplace(std::move(gemm));
  ASSIGN_OR_RETURN(OpScratch scratch, OpScratch::Create(LimitsOf(config, options), pool.threads()));
  made->scratch_.emplace(std::move(scratch));
  const OpContext ops{.gemm = &*made->gemm_, .scratch = &*made->scratch_, .rows = &CpuRows(isa),
                      .compute = options.compute, .clock = &made->clock_};
  ASSIGN_OR_RETURN(made->stage_,
                   Stage<T>::Create(made->config_, mesh, *made->params_, ops, LimitsOf(mesh, options)));
  ASSIGN_OR_RETURN(made->received_, Buffer<T>::Allocate(options.micro_batch_rows() * config.hidden_size,
                                                        "activations of the stage before"));
  if (options.compute == Compute::kF16)
    made->scale_ = LossScale(options.initial_loss_scale, options.loss_scale_patience);
  return made;
}

template <typename T>
void Trainer<T>::Initialize(uint64_t seed) {
  for (size_t i = 0; i < params_->shards().size(); ++i) {
    const Shard& s = params_->shards()[i];
    const View<T> value = params_->parameter(i).value;
    if (s.kind == TensorKind::kNorm) {
      std::fill_n(value.data, s.elements(), T{1});
      continue;
    }
    FillRandom(s, seed, InitialDeviation(s, config_), value);
  }
  StartFromParameters();
}

template <typename T>
void Trainer<T>::StartFromParameters() {
  if (lora_) lora_->Start();
}

template <typename T>
void Trainer<T>::FollowTrained() {
  if (lora_) lora_->Apply(gemm_->pool());
}

/// Factors of each loss: losses are means over the step's targets (and sequences) of all replicas.
template <typename T>
Result<StepWeights> Trainer<T>::Weigh(std::span<const MicroBatch> batches, double scale) {
  int64_t counts[3] = {};
  for (const MicroBatch& batch : batches) {
    const TargetCounts targets = CountTargets(batch);
    counts[0] += targets.next;
    counts[1] += targets.second;
    counts[2] += batch.sequences();
  }
  RETURN_IF_ERROR(mesh_.data().AllReduceSum(std::span(counts), "numbers of targets"));
  sequences_ = counts[2];
  const auto per = [&](double weight, int64_t count) {
    return count > 0 ? scale * weight / static_cast<double>(count) : 0;
  };
  return StepWeights{.loss = {.main = per(1, counts[0]), .mtp = per(options_.mtp_weight, counts[1])},
                     .balance = per(options_.balance_weight, counts[2])};
}

template <typename T>
Status Trainer<T>::RunPipeline(std::span<const MicroBatch> batches, const StepWeights& weights,
                               bool backward) {
  Communicator& stages = mesh_.pipeline();
  const int stage = mesh_.stage();
  const View<T> received = received_.view(options_.micro_batch_rows(), config_.hidden_size);
  const auto into = std::as_writable_bytes(std::span(received.data, static_cast<size_t>(received_.size())));
  for (const PipelineAction& action : PlanPipeline(options_.schedule, mesh_.shape().pipeline, stage,
                                                   static_cast<int64_t>(batches.size()))) {
    const MicroBatch& batch = batches[static_cast<size_t>(action.micro_batch)];
    if (action.forward) {
      if (!mesh_.first_stage()) RETURN_IF_ERROR(stages.Receive(stage - 1, into, "activations"));
      ASSIGN_OR_RETURN(const View<const T> out,
                       stage_->Forward(action.slot, batch, received, weights, backward));
      if (!mesh_.last_stage()) RETURN_IF_ERROR(stages.Send(stage + 1, Bytes(out), "activations"));
    } else if (backward) {
      if (!mesh_.last_stage()) RETURN_IF_ERROR(stages.Receive(stage + 1, into, "gradients of activations"));
      ASSIGN_OR_RETURN(const View<const T> din, stage_->Backward(action.slot, batch, received, weights));
      if (!mesh_.first_stage())
        RETURN_IF_ERROR(stages.Send(stage - 1, Bytes(din), "gradients of activations"));
    }
  }
  return {};
}

template <typename T>
Status Trainer<T>::GatherGradients() {
  return lora_ ? lora_->Backward(*gemm_) : SumCopies();
}

/// The embedding's gradient is the sum of both ends' where both use it.
template <typename T>
Status Trainer<T>::SumCopies() {
  if (mesh_.ends().size() == 1 || !(config_.tie_word_embeddings || config_.num_nextn_predict_layers > 0))
    return {};
  const View<T> grad = params_->embedding->grad;
  return mesh_.ends().AllReduceSum(std::span(grad.data, static_cast<size_t>(grad.rows * grad.cols)),
                                   "gradients of the embedding");
}

template <typename T>
Status Trainer<T>::BalanceLoad(StepReport& report) {
  // Copies beyond capacity and all copies; the first shard of a stage's replicas speaks for its
  // tensor-parallel group.
  int64_t copies[2] = {};
  double imbalance = 0;
  for (size_t i = 0; i < stage_->layer_ids().size(); ++i) {
    LayerStatistics& statistics = stage_->statistics()[i];
    if (statistics.choices.empty()) continue;
    RETURN_IF_ERROR(mesh_.data().AllReduceSum(std::span(statistics.choices), "load of experts"));
    int64_t sum = 0, most = 0;
    for (const int64_t count : statistics.choices) {
      sum += count;
      most = std::max(most, count);
    }
    const double mean = static_cast<double>(sum) / static_cast<double>(statistics.choices.size());
    if (mean > 0) imbalance = std::max(imbalance, static_cast<double>(most) / mean);
    if (mesh_.shard() == 0) {
      copies[0] += statistics.dropped;
      copies[1] += mesh_.replica() == 0 ? sum : 0;
    }
    for (auto& bias : params_->biases())
      if (bias.layer == stage_->layer_ids()[i] && !report.skipped && !lora_)
        UpdateBias<T>(statistics.choices, options_.bias_update, bias.values);
  }
  RETURN_IF_ERROR(mesh_.world().AllReduceSum(std::span(copies), "dropped copies"));
  RETURN_IF_ERROR(mesh_.world().AllReduceMax(std::span(&imbalance, 1), "imbalance"));
  report.dropped_share = copies[1] > 0 ? static_cast<double>(copies[0]) / static_cast<double>(copies[1]) : 0;
  report.load_imbalance = imbalance;
  return {};
}

/// Means over the whole step: the last stage's sums, and every stage's balance loss, from one shard each.
template <typename T>
Result<StepReport> Trainer<T>::Losses(const StepWeights& weights) {
  const LossSums& sums = stage_->sums();
  const bool speaks = mesh_.shard() == 0;
  double values[3] = {}, balance = 0;
  int64_t counts[4] = {};
  for (const LayerStatistics& statistics : stage_->statistics()) balance += statistics.balance_loss;
  if (speaks) values[2] = balance;
  if (speaks && mesh_.last_stage()) {
    values[0] = sums.main;
    values[1] = sums.mtp;
    counts[0] = sums.main_targets;
    counts[1] = sums.mtp_targets;
    counts[2] = sums.main_hits;
    counts[3] = sums.mtp_hits;
  }
  RETURN_IF_ERROR(mesh_.world().AllReduceSum(std::span(values), "losses"));
  RETURN_IF_ERROR(mesh_.world().AllReduceSum(std::span(counts), "numbers of targets"));
  const auto mean = [](double sum, int64_t count) {
    return count > 0 ? sum / static_cast<double>(count) : 0;
  };
  StepReport report;
  report.step = step_;
  report.main_targets = counts[0];
  report.mtp_targets = counts[1];
  report.loss = mean(values[0], counts[0]);
  report.mtp_loss = mean(values[1], counts[1]);
  const double unit = weights.balance * static_cast<double>(sequences_);
  report.balance_loss = unit > 0 ? values[2] / unit : 0;
  report.accuracy = mean(static_cast<double>(counts[2]), counts[0]);
  report.mtp_accuracy = mean(static_cast<double>(counts[3]), counts[1]);
  report.loss_scale = scale_.value();
  report.tokens = sequences_ * options_.sequence_length;
  return report;
}

template <typename T>
Status Trainer<T>::Diagnose(std::span<const MicroBatch> batches, const StepWeights& weights,
                            std::string_view what) {
  FiniteProbe<T> probe;
  probe.SeeParameters(*params_);
  ZeroGrads();
  stage_->set_probe(&probe);
  const Status ran = RunPipeline(batches, weights, true);
  stage_->set_probe(nullptr);
  RETURN_IF_ERROR(ran);
  probe.SeeGradients(*params_);
  RETURN_IF_ERROR(GatherGradients());
  probe.SeeGradients(trained());
  return probe.Report(mesh_, step_, what);
}

template <typename T>
void Trainer<T>::ZeroGrads() {
  const PartClock::Scope scope(&clock_, StepPart::kOptimizer);
  params_->ZeroGrads(gemm_->pool());
}

template <typename T>
Result<UpdateReport> Trainer<T>::Update(double learning_rate) {
  const PartClock::Scope scope(&clock_, StepPart::kOptimizer);
  return optimizer_->Step(gemm_->pool(), learning_rate, scale_.value());
}

template <typename T>
Result<StepReport> Trainer<T>::Step(std::span<const MicroBatch> batches) {
  HADAL_CHECK(static_cast<int64_t>(batches.size()) == options_.accumulation_steps, "{} micro-batches of {}",
              batches.size(), options_.accumulation_steps);
  ASSIGN_OR_RETURN(const StepWeights weights, Weigh(batches, scale_.value()));
  ZeroGrads();
  stage_->ResetSums();
  RETURN_IF_ERROR(RunPipeline(batches, weights, true));
  RETURN_IF_ERROR(GatherGradients());
  ASSIGN_OR_RETURN(StepReport report, Losses(weights));
  // Under FP16 an overflow may be the scale's fault; what is no number at the least scale is not.
  const bool may_rescale = options_.compute == Compute::kF16 && scale_.value() > 1;
  const std::string_view bad = NotFinite(report);
  if (!bad.empty() && !may_rescale) return tl::unexpected(Diagnose(batches, weights, bad).error());

  report.learning_rate = options_.rate.At(step_);
  UpdateReport update{.gradient_norm = NAN, .skipped = true};  // where a loss is no number
  if (bad.empty()) {
    ASSIGN_OR_RETURN(update, Update(report.learning_rate));
  }
  report.gradient_norm = update.gradient_norm;
  report.skipped = update.skipped;
  if (update.skipped && !may_rescale)
    return tl::unexpected(Diagnose(batches, weights, "the gradient's norm").error());
  scale_.Update(update.skipped);
  if (!update.skipped) FollowTrained();
  RETURN_IF_ERROR(BalanceLoad(report));
  int64_t bytes[2] = {update.bytes_reduced, update.bytes_uncompressed};
  RETURN_IF_ERROR(mesh_.world().AllReduceSum(std::span(bytes), "traffic"));
  report.bytes_reduced = bytes[0];
  report.bytes_uncompressed = bytes[1];
  report.step = ++step_;
  return report;
}

template <typename T>
Result<StepReport> Trainer<T>::Evaluate(std::span<const MicroBatch> batches) {
  ASSIGN_OR_RETURN(const StepWeights weights, Weigh(batches, 1));
  stage_->ResetSums();
  RETURN_IF_ERROR(RunPipeline(batches, weights, false));
  return Losses(weights);
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace hadal::train
