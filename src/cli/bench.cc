// hadal bench: measure, and print the share of this machine's limit.
#include <memory>
#include <optional>

#include "base/progress.h"
#include "cli/bench_serve.h"
#include "cli/bench_train.h"
#include "cli/engine_flags.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "engine/bench_report.h"

namespace hadal {
namespace {

constexpr const char* kModelFooter =
    R"(At depth D each sequence has D tokens in the cache before the clock starts. Prefill computes --prompt
tokens behind them, decode generates --generate tokens behind them; ids are random, of a fixed seed. Shares
are of what this machine reaches in the same run: prefill of the arithmetic its format allows, decode of the
memory bandwidth.

--batch takes one size or a list, 1,4,16: that many sequences are computed at once, each of the sizes gets
its own row, and the memory must hold the largest.

Example:
  hadal bench model --model DIR --prompt 512 --generate 128 --batch 1,4,16 --repeat 5 --json)";

struct BenchFlags {
  EngineFlags engine;
  int64_t prompt = 512, generate = 128, depth = 0, repeat = 5;
  std::vector<int64_t> batches = {1};
  bool json = false;
};

Result<int> RunBenchModel(const BenchFlags& flags) {
  ASSIGN_OR_RETURN(const Path folder, FindModelFolder(flags.engine.model));
  BenchOptions options;
  ASSIGN_OR_RETURN(options.engine, ToEngineOptions(flags.engine));
  options.prompt = flags.prompt;
  options.generate = flags.generate;
  options.depth = flags.depth;
  options.repeat = flags.repeat;
  options.batches = flags.batches;

  ProgressBar loading("loading");
  std::optional<ProgressBar> measuring;
  // Loading ends at once on Ctrl-C, as any program; what comes after it is asked to stop.
  std::optional<InterruptGuard> interrupt;
  options.progress = [&](std::string_view stage, uint64_t done, uint64_t total) {
    if (stage == "loading") {
      loading.Update(done, total);
      return true;
    }
    if (!measuring) {
      loading.Clear();
      measuring.emplace("measuring", /*bytes=*/false);
      interrupt.emplace();
    }
    measuring->Update(done, total);
    return !interrupt->Requested();
  };
  Result<BenchReport> report = BenchModel(folder, options);
  measuring.reset();
  if (!report) return tl::unexpected(std::move(report).error());
  RETURN_IF_ERROR(Print(flags.json ? BenchJson(*report) : BenchTable(*report)));
  return kExitOk;
}

void AddBenchModel(CLI::App& bench, Action& action) {
  CLI::App* verb =
      bench.add_subcommand("model", "Prefill and decode rates, and their share of this machine's limits");
  const auto flags = std::make_shared<BenchFlags>();
  AddEngineFlags(*verb, flags->engine);
  const auto add = [&](const char* name, auto& value, const char* text) {
    return verb->add_option(name, value, text)->capture_default_str();
  };
  add("--prompt", flags->prompt, "Tokens of prompt to prefill");
  add("--generate", flags->generate, "Tokens to decode");
  add("--depth", flags->depth, "Tokens in the cache before");
  add("--batch", flags->batches, "Sequences at once; several sizes are measured one after another")
      ->delimiter(',');
  add("--repeat", flags->repeat, "Times each is measured");
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(kModelFooter);
  verb->callback([flags, &action] { action = [flags] { return RunBenchModel(*flags); }; });
}

}  // namespace

void AddBench(CLI::App& app, Action& action) {
  CLI::App* bench = app.add_subcommand("bench", "Measure, and print the share of this machine's limit");
  bench->require_subcommand(1);
  AddBenchModel(*bench, action);
  AddBenchTrain(*bench, action);
  AddBenchServe(*bench, action);
  AddBenchSoak(*bench, action);
}

}  // namespace hadal
