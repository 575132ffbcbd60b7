// hadal synth: a model folder with random weights.
#include "model/synth.h"

#include <memory>

#include "base/cpu_info.h"
#include "base/progress.h"
#include "cli/flags.h"
#include "cli/folder_report.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "model/shapes.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Writes a complete model folder: configuration, tokenizer, chat template, and weights that are
random but behave as a trained model's do, so that it can be run, measured and tested with. Every
byte follows from shape, format, layers and seed. The folder appears when it is complete, or not at
all.

Example:
  hadal synth --shape v3-tiny --weights bf16 --seed 1 --out tiny
  hadal synth --shape deepseek-v3 --layers 4 --weights fp8 --out v3-first-layers)";

struct SynthFlags {
  SynthOptions options;
  std::string out;
  int64_t layers = 0;
  int threads = 0;
  bool json = false;
};

Result<int> RunSynth(SynthFlags& flags) {
  SynthOptions& options = flags.options;
  options.out = flags.out;
  if (flags.layers > 0) options.layers = flags.layers;
  ThreadPool pool(flags.threads > 0 ? flags.threads : UsableProcessors());
  const InterruptGuard interrupt(/*also_terminate=*/true);
  ProgressBar bar("writing");
  FolderReport report(flags.out);
  options.progress = [&](uint64_t done, uint64_t total) {
    report.bytes = done;
    bar.Update(done, total);
    return !interrupt.Requested();
  };
  RETURN_IF_ERROR(Synthesize(options, pool));
  bar.Clear();
  RETURN_IF_ERROR(report.Print(flags.json));
  return kExitOk;
}

}  // namespace

void AddSynth(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<SynthFlags>();
  CLI::App* verb =
      app.add_subcommand("synth", "A model folder with random weights, for benchmarks and tests");
  verb->footer(kAbout);
  verb->add_option("--shape", flags->options.shape, fmt::format("One of {}", fmt::join(ShapeNames(), ", ")))
      ->type_name("NAME")
      ->required();
  AddChoice(*verb, "--weights", flags->options.weights, {"bf16", "fp8", "int8", "int4"},
            "Format of the weights");
  verb->add_option("--out", flags->out, "Folder to make")->type_name("DIR")->required();
  verb->add_option("--seed", flags->options.seed, "Seed of the weights")
      ->type_name("N")
      ->capture_default_str();
  AddNumber(*verb, "--layers", flags->layers, 0, 100000, "Keep the first N layers of the shape; 0: all");
  AddNumber(*verb, "--threads", flags->threads, 0, 4096, "Threads; 0: every usable processor");
  verb->add_flag("--json", flags->json, "Print a JSON object about what was written");
  verb->callback([flags, &action] { action = [flags] { return RunSynth(*flags); }; });
}

}  // namespace hadal
