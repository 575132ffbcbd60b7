// hadal bench train: whole training steps, and their share of this machine's arithmetic peak.
#include "cli/bench_train.h"

#include <memory>
#include <optional>

#include "base/cpu_info.h"
#include "base/progress.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "train/bench_train.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Trains a model of random weights on random tokens, one rank, and times whole steps: forward, backward and
update. The share is of the arithmetic that this machine reaches in the same run, in bf16 where products
are in bf16. Operations count 6 for each parameter that is active for a token, and the attention core.

Shapes are train-20m and those that 'hadal synth' knows.

Example:
  hadal bench train --sequence-length 512 --micro-batch-size 4 --precision bf16 --threads 2)";

struct BenchTrainFlags {
  train::BenchTrainOptions options;
  std::string precision = "bf16", checkpointing = "none";
  int64_t seed = 0;
  int threads = 0;
  bool json = false;
};

Result<int> RunBenchTrain(const BenchTrainFlags& flags) {
  train::BenchTrainOptions options = flags.options;
  options.threads = flags.threads > 0 ? flags.threads : UsableProcessors();
  if (flags.precision == "f16") options.compute = Compute::kF16;
  if (flags.precision == "f32") options.compute = Compute::kF32;
  if (flags.checkpointing == "selective") options.checkpointing = train::Checkpointing::kSelective;
  if (flags.checkpointing == "full") options.checkpointing = train::Checkpointing::kFull;
  options.seed = static_cast<uint64_t>(flags.seed);
  // Before any thread starts: all inherit that signals are asked about.
  const InterruptGuard interrupt;
  std::optional<ProgressBar> bar;
  bar.emplace("measuring", /*bytes=*/false);
  options.progress = [&](int64_t done, int64_t total) {
    bar->Update(static_cast<uint64_t>(done), static_cast<uint64_t>(total));
    return !interrupt.Requested();
  };
  const Result<train::BenchTrainReport> report = train::BenchTrain(options);
  bar.reset();
  if (!report) return tl::unexpected(report.error());
  RETURN_IF_ERROR(Print(flags.json ? train::BenchTrainJson(*report) : train::BenchTrainTable(*report)));
  return kExitOk;
}

}  // namespace

void AddBenchTrain(CLI::App& bench, Action& action) {
  CLI::App* verb = bench.add_subcommand("train", "Training steps, and their share of this machine's arithmetic peak");
  const auto flags = std::make_shared<BenchTrainFlags>();
  train::BenchTrainOptions& o = flags->options;
  verb->add_option("--shape", o.shape, "Model shape")->type_name("NAME")->capture_default_str();
  AddNumber(*verb, "--sequence-length", o.sequence_length, 2, 1 << 20, "Tokens of a sequence");
  AddNumber(*verb, "--micro-batch-size", o.micro_batch_size, 1, 4096, "Sequences of one forward");
  AddNumber(*verb, "--gradient-accumulation-steps", o.accumulation_steps, 1, 4096, "Micro-batches of a step");
  AddChoice(*verb, "--precision", flags->precision, {"bf16", "f16", "f32"}, "Factors of products");
  AddChoice(*verb, "--gradient-checkpointing", flags->checkpointing, {"none", "selective", "full"},
            "What is computed again in the backward pass instead of kept");
  AddNumber(*verb, "--threads", flags->threads, 0, 4096, "Threads; 0: all of the machine");
  AddNumber(*verb, "--repeat", o.repeat, 1, 1000, "Steps that are timed");
  AddNumber(*verb, "--seed", flags->seed, 0, 9e15, "Of parameters and tokens");
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(kAbout);
  verb->callback([flags, &action] { action = [flags] { return RunBenchTrain(*flags); }; });
}

}  // namespace hadal
