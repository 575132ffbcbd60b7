#include "engine/bench_model.h"

#include <algorithm>
#include <chrono>

#include "base/cpu_info.h"
#include "base/rng.h"
#include "engine/bench_cost.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;

// Untimed decode steps that warm up and whose routes are counted.
constexpr int64_t kObservedSteps = 16;
constexpr int64_t kMaxTokens = int64_t{1} << 24;
constexpr int64_t kMaxBatch = 4096;
constexpr int64_t kMaxRepeat = 1000;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int32_t RandomId(const BenchOptions& options, int64_t vocab, size_t sequence, int64_t position) {
  const auto words = PhiloxAt(options.seed, sequence, static_cast<uint64_t>(position));
  return static_cast<int32_t>(UnitDouble(words[0], words[1]) * static_cast<double>(vocab));
}

const char* FormatName(const LinearWeight& w) {
  switch (w.format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kF16:
      return "f16";
    case WeightFormat::kBF16:
      return "bf16";
    case WeightFormat::kFp8:
      return "fp8";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt4:
      return "int4";
  }
  return "";
}

/// How far along a benchmark is, in tokens.
class Progress {
 public:
  explicit Progress(const BenchOptions& options) : options_(options) {
    for (const int64_t batch : options.batches)
      total_ += batch * (options.depth + options.repeat * (options.prompt + options.generate));
  }
  Status Advance(std::string_view stage, int64_t tokens) {
    done_ += tokens;
    if (options_.progress &&
        !options_.progress(stage, static_cast<uint64_t>(done_), static_cast<uint64_t>(total_)))
      return Cancelled("the benchmark was stopped");
    return {};
  }

 private:
  const BenchOptions& options_;
  int64_t done_ = 0, total_ = 0;
};

/// The sequences of one batch size, and the two things that are timed.
class BatchRun {
 public:
  BatchRun(Engine& engine, const BenchOptions& options, int64_t batch, Progress& progress)
      : engine_(engine), options_(options), progress_(progress), sequences_(static_cast<size_t>(batch)) {}
  ~BatchRun() {
    for (Sequence& s : sequences_) engine_.blocks().Release(s.block_table);
  }
  BatchRun(const BatchRun&) = delete;
  BatchRun& operator=(const BatchRun&) = delete;

  Status FillToDepth() {
    SetTokens(0, options_.depth);
    return Prefill("filling the cache");
  }

  /// Seconds that `prompt` tokens of every sequence took.
  Result<double> TimePrefill() {
    SetTokens(options_.depth, options_.prompt);
    const Clock::time_point start = Clock::now();
    RETURN_IF_ERROR(Prefill("prefill"));
    return SecondsSince(start);
  }

  /// Seconds that `steps` decode steps took.
  Result<double> TimeDecode(int64_t steps, ForwardObserver* observer = nullptr) {
    SetTokens(options_.depth, 0);
    const Clock::time_point start = Clock::now();
    for (int64_t step = 0; step < steps; ++step) {
      slices_.clear();
      for (size_t i = 0; i < sequences_.size(); ++i) {
        Sequence& s = sequences_[i];
        s.tokens.push_back(RandomId(options_, engine_.config().vocab_size, i, s.length()));
        slices_.push_back({&s, 1});
      }
      ASSIGN_OR_RETURN([[maybe_unused]] const View<const float> logits, engine_.RunStep(slices_, observer));
      RETURN_IF_ERROR(progress_.Advance("decode", observer ? 0 : static_cast<int64_t>(sequences_.size())));
    }
    return SecondsSince(start);
  }

 private:
  /// Each sequence has `cached` tokens in the cache, and `pending` tokens of prompt behind them.
  void SetTokens(int64_t cached, int64_t pending) {
    for (size_t i = 0; i < sequences_.size(); ++i) {
      Sequence& s = sequences_[i];
      s.tokens.resize(static_cast<size_t>(cached));
      s.computed = cached;
      while (s.length() < cached + pending)
        s.tokens.push_back(RandomId(options_, engine_.config().vocab_size, i, s.length()));
      s.prompt_length = s.length();
    }
  }

  /// Computes all pending tokens, chunks of as many sequences as fit a step.
  Status Prefill(std::string_view stage) {
    for (;;) {
      slices_.clear();
      int64_t room = engine_.pass().limits().tokens;
      for (Sequence& s : sequences_) {
        const int64_t count = std::min(room, s.pending());
        if (count == 0) continue;
        slices_.push_back({&s, count, count == s.pending() ? 1 : 0});
        room -= count;
      }
      if (slices_.empty()) return {};
      ASSIGN_OR_RETURN([[maybe_unused]] const View<const float> logits, engine_.RunStep(slices_));
      RETURN_IF_ERROR(progress_.Advance(stage, engine_.pass().limits().tokens - room));
    }
  }

  Engine& engine_;
  const BenchOptions& options_;
  Progress& progress_;
  std::vector<Sequence> sequences_;
  std::vector<Slice> slices_;
};

/// Everything of a batch but the limits and what follows from them.
Result<BatchResult> MeasureBatch(Engine& engine, const BenchOptions& options, int64_t batch,
                                 Progress& progress) {
  const ModelConfig& config = engine.config();
  BatchResult result;
  result.batch = batch;
  result.prompt = options.prompt;
  result.generate = options.generate;
  result.depth = options.depth;
  BatchRun run(engine, options, batch, progress);
  RETURN_IF_ERROR(run.FillToDepth());

  RouteCount routes(config.n_routed_experts);
  const int64_t observed = std::min(options.generate, kObservedSteps);
  RETURN_IF_ERROR(run.TimeDecode(observed, &routes));
  const double experts = static_cast<double>(routes.distinct()) / static_cast<double>(observed);
  int64_t moe_layers = 0;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) moe_layers += config.IsMoeLayer(i);
  if (moe_layers > 0) result.experts_per_layer = experts / static_cast<double>(moe_layers);
  // Step i attends to depth + i + 1 positions.
  const double positions = static_cast<double>(options.depth) + static_cast<double>(options.generate + 1) / 2;
  result.step_bytes =
      DecodeStepBytes(config, engine.weights(), engine.pass().cache(), batch, experts, positions);
  result.prefill_operations =
      static_cast<double>(batch) * PrefillOperations(config, options.prompt, options.depth);

  std::vector<double> prefill, decode;
  for (int64_t i = 0; i < options.repeat; ++i) {
    ASSIGN_OR_RETURN(const double prefill_seconds, run.TimePrefill());
    ASSIGN_OR_RETURN(const double decode_seconds, run.TimeDecode(options.generate));
    prefill.push_back(static_cast<double>(batch * options.prompt) / prefill_seconds);
    decode.push_back(static_cast<double>(batch * options.generate) / decode_seconds);
  }
  result.prefill_tps = SpreadOf(std::move(prefill));
  result.decode_tps = SpreadOf(std::move(decode));
  return result;
}

void AddShares(const Weights& weights, const MachineLimits& before, const MachineLimits& after,
               BatchResult& r) {
  r.limits = MeanOf({{before, after}});
  const ArithmeticLimit limit = LimitOf(weights, r.limits);
  r.prefill_limit = limit.name;
  const double prefill_seconds = static_cast<double>(r.batch * r.prompt) / r.prefill_tps.median;
  r.prefill_share = r.prefill_operations / prefill_seconds / (limit.per_second * 1e9);
  r.decode_share = r.bytes_per_token() * r.decode_tps.median / (r.limits.read_gbps * 1e9);
}

Status CheckRange(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    return InvalidArgument("--{} is {}; it may be {} to {}", name, value, low, high);
  return {};
}

EngineOptions EngineOptionsOf(const BenchOptions& options) {
  EngineOptions engine = options.engine;
  engine.context = std::max(engine.context, options.depth + options.prompt + options.generate);
  engine.sequences = *std::max_element(options.batches.begin(), options.batches.end());
  engine.logit_rows = engine.sequences;
  engine.step_tokens = std::max(engine.step_tokens, engine.sequences);
  if (options.progress)
    engine.load.progress = [&options](uint64_t done, uint64_t total) {
      options.progress("loading", done, total);
    };
  return engine;
}

/// What the memory allows of the preferred size, and at least what the last-level cache cannot hold.
uint64_t ProbeBytes(const BenchOptions& options) {
  if (options.probe_bytes > 0) return options.probe_bytes;
  return std::max(std::min(LimitProbe::PreferredBytes(), AvailableMemoryBytes() / 2),
                  4 * LastLevelCacheBytes());
}

}  // namespace

Status ValidateBench(const BenchOptions& options) {
  RETURN_IF_ERROR(CheckRange("prompt", options.prompt, 1, kMaxTokens));
  RETURN_IF_ERROR(CheckRange("generate", options.generate, 1, kMaxTokens));
  RETURN_IF_ERROR(CheckRange("depth", options.depth, 0, kMaxTokens));
  RETURN_IF_ERROR(CheckRange("repeat", options.repeat, 1, kMaxRepeat));
  if (options.batches.empty())
    return InvalidArgument("--batch names no batch size; give one or more, as in 1,4,16");
  for (const int64_t batch : options.batches) RETURN_IF_ERROR(CheckRange("batch", batch, 1, kMaxBatch));
  const int64_t needed = options.depth + options.prompt + options.generate;
  if (options.engine.context > 0 && options.engine.context < needed)
    return InvalidArgument(
        "depth {} + prompt {} + generate {} = {} positions do not fit --context {}; leave it out",
        options.depth, options.prompt, options.generate, needed, options.engine.context);
  return {};
}

Result<BenchReport> BenchModel(const Path& dir, const BenchOptions& options) {
  RETURN_IF_ERROR(ValidateBench(options));
  BenchReport report;
  report.date = UtcNow();
  ASSIGN_OR_RETURN(const ModelConfig config, LoadConfig(dir));
  if (options.depth + options.prompt + options.generate > config.max_position_embeddings)
    return InvalidArgument(
        "depth {} + prompt {} + generate {} = {} positions, and {} has max_position_embeddings {}",
        options.depth, options.prompt, options.generate, options.depth + options.prompt + options.generate,
        dir.string(), config.max_position_embeddings);
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Load(dir, EngineOptionsOf(options)));
  const uint64_t peak_of_load = PeakResidentBytes();
  const LoadReport& load = engine->weights().report;
  report.model = dir.string();
  report.processor = ProcessorName();
  report.isa = engine->kernels().name;
  report.weights = FormatName(engine->weights().layers.front().attention.out);
  report.threads = engine->threads().threads();
  report.planned_bytes = engine->plan().total();
  report.load_seconds = load.seconds;
  report.load_gbps = load.seconds > 0 ? static_cast<double>(load.bytes_read) / load.seconds / 1e9 : 0;

  ASSIGN_OR_RETURN(const LimitProbe probe, LimitProbe::Create(engine->threads(), ProbeBytes(options)));
  report.probe_bytes = probe.bytes();
  Progress progress(options);
  report.limit_samples.push_back(probe.Measure());
  for (const int64_t batch : options.batches) {
    ASSIGN_OR_RETURN(BatchResult result, MeasureBatch(*engine, options, batch, progress));
    report.limit_samples.push_back(probe.Measure());
    AddShares(engine->weights(), *(report.limit_samples.end() - 2), report.limit_samples.back(), result);
    report.results.push_back(result);
  }
  report.limits = MeanOf(report.limit_samples);
  // The probe's memory was resident all along since the load, so what is left of a later peak is the
  // engine's.
  report.peak_rss_bytes = std::max(peak_of_load, PeakResidentBytes() - probe.bytes());
  return report;
}

}  // namespace hadal
