#include "train/bench_train.h"

#include <chrono>

#include "base/cpu_info.h"
#include "base/rng.h"
#include "model/parameters.h"
#include "model/shapes.h"
#include "train/cost.h"

namespace hadal::train {
namespace {

constexpr std::string_view kMiniature = "train-20m";

ModelConfig Miniature() {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.vocab_size = 4096;
  c.hidden_size = 512;
  c.num_hidden_layers = 6;
  c.max_position_embeddings = 4096;
  c.num_attention_heads = 8;
  c.q_lora_rank = 128;
  c.kv_lora_rank = 128;
  c.qk_nope_head_dim = 64;
  c.qk_rope_head_dim = 32;
  c.v_head_dim = 64;
  c.intermediate_size = 768;
  c.first_k_dense_replace = 1;
  c.moe_intermediate_size = 96;
  c.n_routed_experts = 16;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 4;
  c.routed_scaling_factor = 2.5;
  return c;
}

std::vector<MicroBatch> RandomBatches(const BenchTrainOptions& o, int64_t vocab, int64_t step) {
  const int64_t rows = o.sequence_length * o.micro_batch_size;
  std::vector<int32_t> tokens(static_cast<size_t>(rows));
  const std::vector<uint8_t> starts(tokens.size(), 0), learn(tokens.size(), 1);
  std::vector<MicroBatch> batches;
  for (int64_t i = 0; i < o.accumulation_steps; ++i) {
    for (int64_t t = 0; t < rows; ++t) {
      const auto words =
          PhiloxAt(o.seed, static_cast<uint64_t>(step * o.accumulation_steps + i), static_cast<uint64_t>(t));
      tokens[static_cast<size_t>(t)] =
          static_cast<int32_t>(UnitDouble(words[0], words[1]) * static_cast<double>(vocab));
    }
    batches.push_back(MakeMicroBatch(tokens, starts, learn, o.sequence_length));
  }
  return batches;
}

Status CheckRange(const char* name, int64_t value, int64_t most) {
  if (value < 1 || value > most) return InvalidArgument("--{} is {}; it may be 1 to {}", name, value, most);
  return {};
}

Status Check(const BenchTrainOptions& o, const ModelConfig& config) {
  RETURN_IF_ERROR(CheckRange("sequence-length", o.sequence_length, config.max_position_embeddings));
  RETURN_IF_ERROR(CheckRange("micro-batch-size", o.micro_batch_size, 4096));
  RETURN_IF_ERROR(CheckRange("gradient-accumulation-steps", o.accumulation_steps, 4096));
  RETURN_IF_ERROR(CheckRange("repeat", o.repeat, 1000));
  if (o.compute == Compute::kF64) return InvalidArgument("training steps are measured in bf16, f16 or f32");
  return {};
}

Status CheckMemory(const std::string& shape, uint64_t planned) {
  const uint64_t available = AvailableMemoryBytes();
  if (planned <= available) return {};
  return ResourceExhausted(
      "training {} takes {:.2f} GB, and {:.2f} GB are available; lower --sequence-length or "
      "--micro-batch-size, or choose a smaller --shape",
      shape, static_cast<double>(planned) / 1e9, static_cast<double>(available) / 1e9);
}

/// Medians part by part.
PartClock::Seconds Medians(const std::vector<PartClock::Seconds>& steps) {
  PartClock::Seconds medians = {};
  for (size_t p = 0; p < medians.size(); ++p) {
    std::vector<double> values;
    for (const PartClock::Seconds& s : steps) values.push_back(s[p]);
    medians[p] = SpreadOf(std::move(values)).median;
  }
  return medians;
}

const char* PrecisionName(Compute compute) {
  return compute == Compute::kBF16 ? "bf16" : compute == Compute::kF16 ? "f16" : "f32";
}

/// Times the steps.
Status Measure(const BenchTrainOptions& o, Trainer<float>& trainer, BenchTrainReport& report) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds, rates;
  std::vector<PartClock::Seconds> parts;
  for (int64_t step = 0; step <= o.repeat; ++step) {
    const std::vector<MicroBatch> batches = RandomBatches(o, trainer.config().vocab_size, step);
    trainer.clock().Reset();
    const Clock::time_point start = Clock::now();
    ASSIGN_OR_RETURN(const StepReport result, trainer.Step(batches));
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    if (o.progress && !o.progress(step + 1, o.repeat + 1)) return Cancelled("the benchmark was stopped");
    report.loss = result.loss;
    report.operations = TrainingFlops(trainer.config(), batches);
    if (step == 0) continue;
    seconds.push_back(took);
    rates.push_back(static_cast<double>(result.tokens) / took);
    parts.push_back(trainer.clock().seconds());
  }
  report.seconds = SpreadOf(std::move(seconds));
  report.tokens_per_second = SpreadOf(std::move(rates));
  report.parts = Medians(parts);
  return {};
}

}  // namespace

Result<ModelConfig> BenchShape(std::string_view name) {
  if (name == kMiniature) return Miniature();
  return NamedShape(name);
}

Result<BenchTrainReport> BenchTrain(const BenchTrainOptions& o) {
  ASSIGN_OR_RETURN(const ModelConfig config, BenchShape(o.shape));
  RETURN_IF_ERROR(Check(o, config));
  const ParameterCounts counts = CountParameters(config);
  BenchTrainReport report{.date = UtcNow(),
                          .shape = o.shape,
                          .processor = ProcessorName(),
                          .isa = std::string(IsaName(BestIsa())),
                          .precision = PrecisionName(o.compute),
                          .threads = o.threads,
                          .parameters = counts.main + counts.mtp,
                          .active_parameters = counts.active_without_embedding,
                          .sequence_length = o.sequence_length,
                          .micro_batch_size = o.micro_batch_size,
                          .accumulation_steps = o.accumulation_steps};
  TrainerOptions training;
  training.sequence_length = o.sequence_length;
  training.micro_batch_size = o.micro_batch_size;
  training.accumulation_steps = o.accumulation_steps;
  training.compute = o.compute;
  training.checkpointing = o.checkpointing;
  training.rate = {.peak = 1e-3, .total_steps = o.repeat + 1, .decay = Decay::kConstant};
  LoopbackCommunicator world;
  ThreadPool pool(o.threads);
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessMesh> mesh, ProcessMesh::Create(world, {}));
  ASSIGN_OR_RETURN(const TrainerPlan plan, Trainer<float>::Plan(config, *mesh, o.threads, training));
  report.planned_bytes = plan.total();
  RETURN_IF_ERROR(CheckMemory(o.shape, report.planned_bytes));
  ASSIGN_OR_RETURN(const std::unique_ptr<Trainer<float>> trainer,
                   Trainer<float>::Create(config, *mesh, pool, training));
  trainer->Initialize(o.seed);

  constexpr uint64_t kProbeBytes = 1 << 20;  // bandwidth is not asked for
  ASSIGN_OR_RETURN(const LimitProbe probe, LimitProbe::Create(pool, kProbeBytes));
  report.limit_samples.push_back(probe.Measure());
  RETURN_IF_ERROR(Measure(o, *trainer, report));
  report.limit_samples.push_back(probe.Measure());
  report.limits = MeanOf(report.limit_samples);
  const bool bf16 = o.compute == Compute::kBF16 && report.limits.bf16_gflops > 0;
  report.limit = bf16 ? "bf16" : "f32";
  report.share = report.operations / report.seconds.median /
                 ((bf16 ? report.limits.bf16_gflops : report.limits.f32_gflops) * 1e9);
  report.peak_rss_bytes = PeakResidentBytes();
  return report;
}

}  // namespace hadal::train
