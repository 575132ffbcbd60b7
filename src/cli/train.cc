// hadal train: training and fine-tuning, alone or as one rank of mpirun.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/cpu_info.h"
#include "cli/flags.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "cli/train_metrics.h"
#include "cli/train_prepare.h"
#include "cli/train_tokenizer.h"
#include "cli/verbs.h"
#include "kernels/limits.h"
#include "parallel/launch.h"
#include "train/batch_plan.h"
#include "train/memory_check.h"
#include "train/run.h"
#include "train/run_lock.h"

namespace hadal {
namespace {

using train::RunOptions;

constexpr const char* kAbout =
    R"(Trains the model of a folder on token shards (made by 'hadal train prepare'), and writes a folder that
'hadal run' and 'hadal serve' load. With --fresh the folder's config.json and tokenizer are enough.

The run folder (--out) holds checkpoints/, log.jsonl (a line for each update), loss.svg, and at the end
model/. Ctrl-C, SIGTERM or SIGUSR1 saves and ends (exit code 1; 0 under mpirun, which hands on SIGUSR1); --resume
goes on, bit for bit on the same number of ranks, and on any other.

With --lora-rank low-rank adapters are trained (attention's, or those of --lora-targets) and the model stays
as it is; the run ends in adapter/ (the PEFT library's layout; 'hadal convert --lora' merges it) and in model/
with them merged.

An update takes global_batch_size sequences = micro_batch_size x gradient_accumulation_steps x data_parallel.
Several ranks: mpirun -n 8 hadal train ... with --tensor-parallel, --pipeline-parallel, --data-parallel and
--expert-parallel; their product (without the last) is the number of ranks.

Example:
  hadal train --model small --fresh --data shards/train --held-out shards/held-out --out run \
      --steps 2000 --sequence-length 512 --global-batch-size 32
  mpirun -n 4 hadal train --model small --data shards/train --out run --tensor-parallel 2 --resume)";

struct TrainFlags {
  std::string model, data, held_out, out;
  bool fresh = false, resume = false, json = false;
  int64_t steps = 1000, sequence_length = 512;
  train::BatchPlan batch{.micro_batch_size = 1, .gradient_accumulation_steps = 0, .data_parallel = 0, .global_batch_size = 0};
  int64_t tensor = 1, pipeline = 1, expert = 1;
  std::string schedule = "1f1b", precision = "bf16", checkpointing = "none", compression = "none", decay = "cosine";
  double learning_rate = 1e-3, final_share = 0.1, decay_share = 0.2;
  int64_t warmup = 100;
  train::AdamWOptions adam;
  double mtp_weight = 0.3, balance_weight = 1e-4, bias_update = 1e-3;
  int64_t save_every = 500, evaluate_every = 500, keep = 2, prefetch = 3, seed = 0, timeout = 600;
  int threads = 0;
  std::string weights = "bf16", metrics;
  train::LoraOptions lora;
};

Result<train::TrainerOptions> ToTrainerOptions(const TrainFlags& f, const train::BatchPlan& batch) {
  train::TrainerOptions o;
  o.sequence_length = f.sequence_length;
  o.micro_batch_size = batch.micro_batch_size;
  o.accumulation_steps = batch.gradient_accumulation_steps;
  if (f.schedule == "gpipe") o.schedule = train::PipelineSchedule::kGPipe;
  if (f.precision == "bf16") o.compute = Compute::kBF16;
  if (f.precision == "f16") o.compute = Compute::kF16;
  if (f.precision == "f32") o.compute = Compute::kF32;
  if (f.precision == "f64") o.compute = Compute::kF64;
  if (f.checkpointing == "selective") o.checkpointing = train::Checkpointing::kSelective;
  if (f.checkpointing == "full") o.checkpointing = train::Checkpointing::kFull;
  if (f.compression == "bf16") o.compression = train::GradientCompression::kBF16;
  if (f.compression == "fp16") o.compression = train::GradientCompression::kFP16;
  o.adam = f.adam;
  o.rate = {.peak = f.learning_rate, .final_share = f.final_share, .warmup_steps = std::min(f.warmup, f.steps),
            .total_steps = f.steps, .wsd_decay_share = f.decay_share};
  if (f.decay == "constant") o.rate.decay = train::Decay::kConstant;
  if (f.decay == "wsd") o.rate.decay = train::Decay::kWsd;
  o.mtp_weight = f.mtp_weight;
  o.balance_weight = f.balance_weight;
  o.bias_update = f.bias_update;
  o.lora = f.lora;
  return o;
}

Status CheckFlags(const TrainFlags& f) {
  const std::pair<const char*, const std::string*> needed[] = {{"--model", &f.model}, {"--data", &f.data}, {"--out", &f.out}};
  for (const auto& [name, value] : needed)
    if (value->empty()) return InvalidArgument("{} is missing; see 'hadal train --help'", name);
  return {};
}

Result<RunOptions> ToRunOptions(const TrainFlags& f) {
  RETURN_IF_ERROR(CheckFlags(f));
  const int ranks = LaunchedRanks(), here = LaunchedRanksHere();
  train::BatchPlan batch = f.batch;
  if (batch.data_parallel == 0) batch.data_parallel = std::max<int64_t>(1, ranks / (f.tensor * f.pipeline));
  ASSIGN_OR_RETURN(batch, train::CompleteBatchPlan(batch));
  RunOptions o;
  o.model = f.model;
  o.data = f.data;
  o.held_out = f.held_out;
  o.out = f.out;
  o.fresh = f.fresh;
  o.resume = f.resume;
  o.mesh = {.tensor = static_cast<int>(f.tensor), .pipeline = static_cast<int>(f.pipeline),
            .data = static_cast<int>(batch.data_parallel), .expert = static_cast<int>(f.expert)};
  ASSIGN_OR_RETURN(o.trainer, ToTrainerOptions(f, batch));
  o.save_every = f.save_every;
  o.evaluate_every = f.evaluate_every;
  o.keep = f.keep;
  o.prefetch = f.prefetch;
  o.seed = static_cast<uint64_t>(f.seed);
  o.threads = f.threads > 0 ? f.threads : std::max(1, UsableProcessors() / here);
  o.export_weights = f.weights;
  o.available_bytes = AvailableMemoryBytes() / static_cast<uint64_t>(here);
  return o;
}

/// What one rank's threads can do in the precision of the run: a short look, on the first rank of each machine.
double MeasurePeak(const RunOptions& o) {
  ThreadPool pool(o.threads);
  constexpr uint64_t kBytes = 1 << 20;  // bandwidth is not asked for
  const Result<LimitProbe> probe = LimitProbe::Create(pool, kBytes);
  if (!probe) return 0;
  const MachineLimits limits = probe->Measure();
  const bool bf16 = o.trainer.compute == Compute::kBF16 && limits.bf16_gflops > 0;
  return (bf16 ? limits.bf16_gflops : limits.f32_gflops) * 1e9;
}

std::string StepLine(const train::RunProgress& p) {
  const train::StepReport& r = p.report;
  std::string line = fmt::format("{}/{}  loss {:.4f}  ", r.step, p.total_steps, r.loss);
  if (r.mtp_targets > 0) line += fmt::format("mtp {:.4f}  ", r.mtp_loss);
  line += fmt::format("grad {:.3g}  lr {:.3g}  {:.0f} tok/s  ", r.gradient_norm, r.learning_rate, p.tokens_per_second);
  if (p.peak_share > 0) line += fmt::format("{:.0f} % of peak  ", 100 * p.peak_share);
  if (r.dropped_share > 0) line += fmt::format("dropped {:.1f} %  ", 100 * r.dropped_share);
  if (r.skipped) line += "overflow, skipped  ";
  const auto left = static_cast<int64_t>(p.seconds_left);
  return line + fmt::format("{}:{:02d}:{:02d} left", left / 3600, left / 60 % 60, left % 60);
}

/// A line that is written over on a terminal; elsewhere now and then one of its own.
class StepPrinter {
 public:
  void Step(const train::RunProgress& p) {
    const bool last = p.report.step == p.total_steps;
    if (terminal_) {
      std::fprintf(stderr, "\r\033[K%s%s", StepLine(p).c_str(), last ? "\n" : "");
      std::fflush(stderr);
      open_ = !last;
    } else if (last || p.report.step % kEvery == 0 || p.report.step == 1) {
      PrintNote(StepLine(p));
    }
  }
  void Note(const std::string& line) {
    if (open_) std::fputc('\n', stderr);
    open_ = false;
    PrintNote(line);
  }

 private:
  static constexpr int64_t kEvery = 50;
  const bool terminal_ = IsTerminal(STDERR_FILENO);
  bool open_ = false;
};

nlohmann::ordered_json ResultJson(const train::RunResult& r) {
  return {{"steps", r.steps},
          {"interrupted", r.interrupted},
          {"loss", r.last.loss},
          {"mtp_loss", r.last.mtp_loss},
          {"held_out_loss", r.evaluation.loss},
          {"held_out_accuracy", r.evaluation.accuracy},
          {"mtp_accuracy", r.evaluation.mtp_accuracy},
          {"planned_bytes", r.plan.total()},
          {"peak_bytes", r.peak_bytes},
          {"model", r.model.string()},
          {"adapter", r.adapter.string()}};
}

Result<train::RunResult> RunAll(const TrainFlags& flags, StepPrinter& printer) {
  ASSIGN_OR_RETURN(RunOptions options, ToRunOptions(flags));
  // Before the ranks' records are begun anew: another run may be using them.
  std::optional<train::RunLock> lock;
  if (LaunchedRank() == 0) {
    ASSIGN_OR_RETURN(train::RunLock taken, train::RunLock::Take(options.out));
    lock.emplace(std::move(taken));
  }
  std::error_code error;
  std::filesystem::create_directories(options.out / "ranks", error);
  if (error) return FailedPrecondition("cannot make {}: {}", options.out.string(), error.message());
  // Before any thread starts: all inherit that signals are asked about.
  const InterruptGuard interrupt(/*also_terminate=*/true);
  // Before the ranks meet: one that fails later would leave the others waiting.
  std::unique_ptr<TrainMetrics> metrics;
  if (LaunchedRank() == 0 && !flags.metrics.empty()) {
    ASSIGN_OR_RETURN(metrics, TrainMetrics::Start(flags.metrics));
    printer.Note("metrics on http://" + metrics->address() + "/metrics");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> world,
                   OpenWorld({.limit = std::chrono::seconds(flags.timeout),
                              .flight_dir = options.out / "ranks",
                              .told_to_end = [&] { return interrupt.Requested(); }}));
  const bool leads = world->rank() == 0;
  if (world->size() == 1 || leads) options.peak_flops = MeasurePeak(options);
  train::RunListener listener;
  listener.planned = [&](const train::TrainerPlan& plan) {
    if (leads) printer.Note("memory of a rank: " + train::PlanText(plan));
    if (metrics) metrics->Plan(plan);
  };
  listener.stepped = [&](const train::RunProgress& p) {
    printer.Step(p);
    if (metrics) metrics->Step(p);
  };
  listener.evaluated = [&](const train::Evaluation& e) {
    printer.Note(fmt::format("held out at {}: loss {:.4f}, accuracy {:.2f} %, mtp accuracy {:.2f} %", e.step, e.loss,
                             100 * e.accuracy, 100 * e.mtp_accuracy));
    if (metrics) metrics->Evaluated(e);
  };
  listener.noted = [&](const std::string& what) { printer.Note(what); };
  listener.interrupted = [&] { return interrupt.Requested(); };
  Result<train::RunResult> result = train::RunTraining(*world, options, listener);
  if (!result && world->size() > 1) {
    // The destructor would wait for ranks that may be gone; mpirun ends those that are not.
    printer.Note("hadal: " + result.error().message);
    std::fflush(nullptr);
    _exit(kExitFailure);
  }
  return result;
}

Result<int> RunTrain(const TrainFlags& flags) {
  StepPrinter printer;
  ASSIGN_OR_RETURN(const train::RunResult result, RunAll(flags, printer));
  if (LaunchedRank() != 0) return kExitOk;
  printer.Note(fmt::format("memory: {} planned, {} at most resident", BytesText(result.plan.total()),
                           BytesText(result.peak_bytes)));
  if (flags.json) {
    RETURN_IF_ERROR(Print(ResultJson(result).dump() + "\n"));
  } else if (!result.interrupted) {
    RETURN_IF_ERROR(Print(fmt::format("{}\n", result.model.string())));
  }
  if (result.interrupted) printer.Note(fmt::format("stopped after {} updates; --resume goes on", result.steps));
  // Of a rank that ends with another code mpirun says that it failed.
  return result.interrupted && LaunchedRanks() == 1 ? kExitWarning : kExitOk;
}

void AddShape(CLI::App& verb, TrainFlags& f) {
  Setting(AddNumber(verb, "--steps", f.steps, 1, 1e9, "Updates of the whole run"), "train.steps");
  Setting(AddNumber(verb, "--sequence-length", f.sequence_length, 2, 1 << 20, "Tokens of a sequence"), "train.sequence_length");
  Setting(AddNumber(verb, "--micro-batch-size", f.batch.micro_batch_size, 1, 1 << 20, "Sequences of one forward"),
          "train.micro_batch_size");
  Setting(AddNumber(verb, "--gradient-accumulation-steps", f.batch.gradient_accumulation_steps, 0, 1 << 20,
                    "Micro-batches of an update on each replica; 0: what the others leave"),
          "train.gradient_accumulation_steps");
  Setting(AddNumber(verb, "--global-batch-size", f.batch.global_batch_size, 0, 1 << 30,
                    "Sequences of an update; 0: the product of the others"), "train.global_batch_size");
  Setting(AddNumber(verb, "--tensor-parallel", f.tensor, 1, 4096, "Ranks that share each layer"), "train.tensor_parallel");
  Setting(AddNumber(verb, "--pipeline-parallel", f.pipeline, 1, 4096, "Stages of layers"), "train.pipeline_parallel");
  Setting(AddNumber(verb, "--data-parallel", f.batch.data_parallel, 0, 4096, "Replicas; 0: what the ranks leave"),
          "train.data_parallel");
  Setting(AddNumber(verb, "--expert-parallel", f.expert, 1, 4096, "Replicas that share one set of experts"),
          "train.expert_parallel");
  Setting(AddChoice(verb, "--pipeline-schedule", f.schedule, {"1f1b", "gpipe"}, "Order of micro-batches"),
          "train.pipeline_schedule");
  Setting(AddChoice(verb, "--precision", f.precision, {"bf16", "f16", "f32", "f64"},
                    "Factors of products; parameters and sums are f32 (f64 under f64)"), "train.precision");
  Setting(AddChoice(verb, "--gradient-checkpointing", f.checkpointing, {"none", "selective", "full"},
                    "What is computed again in the backward pass instead of kept"), "train.gradient_checkpointing");
  Setting(AddChoice(verb, "--gradient-compression", f.compression, {"none", "bf16", "fp16"},
                    "Format in which gradients travel between replicas"), "train.gradient_compression");
}

void AddOptimizer(CLI::App& verb, TrainFlags& f) {
  Setting(AddNumber(verb, "--learning-rate", f.learning_rate, 1e-12, 1e3, "At its peak"), "train.learning_rate");
  Setting(AddNumber(verb, "--warmup-steps", f.warmup, 0, 1e9, "Updates over which the rate rises"), "train.warmup_steps");
  Setting(AddChoice(verb, "--schedule", f.decay, {"cosine", "wsd", "constant"}, "How the rate falls afterwards"),
          "train.schedule");
  Setting(AddNumber(verb, "--final-share", f.final_share, 0, 1, "Of the peak rate, at the end"), "train.final_share");
  Setting(AddNumber(verb, "--decay-share", f.decay_share, 0, 1, "Of the updates, that decay under wsd"), "train.decay_share");
  Setting(AddNumber(verb, "--weight-decay", f.adam.weight_decay, 0, 100, "Of matrices"), "train.weight_decay");
  Setting(AddNumber(verb, "--beta1", f.adam.beta1, 0, 1, "AdamW's"), "train.beta1");
  Setting(AddNumber(verb, "--beta2", f.adam.beta2, 0, 1, "AdamW's"), "train.beta2");
  Setting(AddNumber(verb, "--epsilon", f.adam.epsilon, 1e-30, 1, "AdamW's"), "train.epsilon");
  Setting(AddNumber(verb, "--clip-norm", f.adam.clip_norm, 0, 1e9, "Largest norm of the gradient; 0: no limit"),
          "train.clip_norm");
  Setting(AddNumber(verb, "--mtp-weight", f.mtp_weight, 0, 100, "Weight of the prediction layer's loss"), "train.mtp_weight");
  Setting(AddNumber(verb, "--balance-weight", f.balance_weight, 0, 100, "Weight of the sequence-wise balance loss"),
          "train.balance_weight");
  Setting(AddNumber(verb, "--bias-update", f.bias_update, 0, 1, "Step of the router bias after each update"),
          "train.bias_update");
}

void AddLora(CLI::App& verb, TrainFlags& f) {
  Setting(AddNumber(verb, "--lora-rank", f.lora.rank, 0, 65536, "Of LoRA adapters, trained instead of the model; 0: none"),
          "train.lora_rank");
  Setting(AddNumber(verb, "--lora-alpha", f.lora.alpha, 1e-6, 1e6, "Their weight is alpha / rank"), "train.lora_alpha");
  Setting(verb.add_option("--lora-targets", f.lora.targets,
                          "Linears that get one: attention, all, or ends of names (o_proj,mlp.up_proj)")
              ->type_name("LIST")->capture_default_str(),
          "train.lora_targets");
}

void AddRunFlags(CLI::App& verb, TrainFlags& f) {
  Setting(AddNumber(verb, "--save-every", f.save_every, 0, 1e9, "Updates between checkpoints; 0: at the end"), "train.save_every");
  Setting(AddNumber(verb, "--evaluate-every", f.evaluate_every, 0, 1e9, "Updates between evaluations; 0: at the end"),
          "train.evaluate_every");
  Setting(AddNumber(verb, "--keep", f.keep, 1, 1e6, "Checkpoints that stay"), "train.keep");
  Setting(AddNumber(verb, "--prefetch", f.prefetch, 1, 1024, "Updates whose data is made ahead"), "train.prefetch");
  Setting(AddNumber(verb, "--seed", f.seed, 0, 9e15, "Of parameters (--fresh) and of the data's order"), "train.seed");
  Setting(AddNumber(verb, "--threads", f.threads, 0, 4096, "Threads of a rank; 0: the machine's share"), "train.threads");
  Setting(AddNumber(verb, "--timeout", f.timeout, 1, 86400, "Seconds that a rank waits for another before it gives up"),
          "train.timeout");
  Setting(AddChoice(verb, "--export-weights", f.weights, {"bf16", "fp8", "int8", "int4"}, "Format of the model written"),
          "train.export_weights");
  Setting(verb.add_option("--metrics-listen", f.metrics,
                          "Loopback address and port for /metrics (no TLS); empty: none")->type_name("ADDRESS"),
          "train.metrics_listen");
  verb.add_flag("--json", f.json, "One object with the result on standard output");
}

}  // namespace

void AddTrain(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<TrainFlags>();
  CLI::App* verb = app.add_subcommand("train", "Training and fine-tuning, over any number of ranks");
  verb->footer(kAbout);
  verb->add_option("-m,--model", flags->model, "Model folder to begin with")->type_name("DIR");
  Setting(verb->add_option("--data", flags->data, "Folder of token shards")->type_name("DIR"), "train.data");
  Setting(verb->add_option("--held-out", flags->held_out, "Folder of token shards for evaluation")->type_name("DIR"),
          "train.held_out");
  verb->add_option("--out", flags->out, "Run folder")->type_name("DIR");
  verb->add_flag("--fresh", flags->fresh, "Begin with random parameters; the folder needs no weights");
  verb->add_flag("--resume", flags->resume, "Go on from the newest checkpoint of the run folder");
  AddShape(*verb, *flags);
  AddOptimizer(*verb, *flags);
  AddLora(*verb, *flags);
  AddRunFlags(*verb, *flags);
  AddTrainPrepare(*verb, action);
  AddTrainTokenizer(*verb, action);
  verb->callback([verb, flags, &action] {
    if (verb->get_subcommands().empty()) action = [flags] { return RunTrain(*flags); };
  });
}

}  // namespace hadal
