#include "cli/engine_flags.h"

#include <unistd.h>

#include <algorithm>

#include "base/cpu_info.h"
#include "base/progress.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/terminal.h"

namespace hadal {
namespace {

constexpr int64_t kMaxContext = int64_t{1} << 31;

std::string PlanLine(const Path& folder, const MemoryPlan& plan, uint64_t available) {
  return fmt::format("{}: needs {} of memory, {} is available ({})", folder.string(), BytesText(plan.total()),
                     BytesText(available), PlanText(plan));
}

std::string LoadedLine(Engine& engine) {
  const LoadReport& report = engine.weights().report;
  return fmt::format("read {} in {:.2f} s ({}/s); kernels {}, {} threads, context {}",
                     BytesText(report.bytes_read), report.seconds,
                     BytesText(static_cast<uint64_t>(static_cast<double>(report.bytes_read) /
                                                     std::max(report.seconds, 1e-9))),
                     engine.kernels().name, engine.threads().threads(), engine.context());
}

}  // namespace

void AddModelFlag(CLI::App& verb, std::string& model) {
  Setting(
      verb.add_option("-m,--model", model, "Model folder; without it the default model")->type_name("DIR"),
      "model");
}

void AddEngineFlags(CLI::App& verb, EngineFlags& flags) {
  AddModelFlag(verb, flags.model);
  Setting(AddChoice(verb, "--weights", flags.weights, {"as-stored", "int8", "int4"},
                    "Format of the weights in memory"),
          "engine.weights");
  Setting(AddNumber(verb, "--group", flags.group, 32, 128,
                    "Weights that share a scale, with --weights int8 or int4: 32, 64 or 128"),
          "engine.group");
  Setting(AddChoice(verb, "--compute", flags.compute, {"auto", "f32"},
                    "Arithmetic: auto takes bf16 or int8 inputs as the weights call for; f32 throughout"),
          "engine.compute");
  Setting(AddChoice(verb, "--kernels", flags.kernels, {"auto", "ref", "generic", "avx2", "avx512"},
                    "Kernels: auto takes the best that run here, ref is plain loops"),
          "engine.kernels");
  Setting(AddChoice(verb, "--act-quant", flags.act_quant, {"none", "f32", "ue8m0"},
                    "Quantise the inputs of FP8 weights as DeepSeek's GPU kernels do; needs --compute f32"),
          "engine.act_quant");
  Setting(AddNumber(verb, "--threads", flags.threads, 0, 4096, "Threads; 0: every usable processor"),
          "engine.threads");
  Setting(AddNumber(verb, "--context", flags.context, 0, kMaxContext,
                    "Positions (tokens) of a sequence; 0: what given ids need, else 4096 or the model's"),
          "engine.context");
  Setting(AddNumber(verb, "--chunk", flags.chunk, 1, 65536, "Tokens computed in one step at most"),
          "engine.chunk");
  verb.add_flag("-v,--verbose", flags.verbose, "Say on standard error what is loaded and how fast it runs");
}

Result<EngineOptions> ToEngineOptions(const EngineFlags& flags) {
  EngineOptions options;
  options.kernels = flags.kernels;
  options.threads = flags.threads;
  options.context = flags.context;
  options.step_tokens = flags.chunk;
  LoadOptions& load = options.load;
  load.group = flags.group;
  if (flags.weights == "int8") load.weights = WeightChoice::kInt8;
  if (flags.weights == "int4") load.weights = WeightChoice::kInt4;
  if (flags.compute == "f32") load.compute = ComputeMode::kF32;
  if (flags.act_quant == "f32") load.activation_quantization = ActivationQuantization::kF32Scale;
  if (flags.act_quant == "ue8m0") load.activation_quantization = ActivationQuantization::kPowerOfTwoScale;
  if (flags.group != 32 && flags.group != 64 && flags.group != 128)
    return InvalidArgument("--group is 32, 64 or 128, and is {}", flags.group);
  if (flags.act_quant != "none" && flags.compute != "f32")
    return InvalidArgument("--act-quant {} needs --compute f32", flags.act_quant);
  return options;
}

Result<std::unique_ptr<Engine>> LoadEngine(const Path& folder, EngineOptions options, bool verbose,
                                           const std::function<void(std::string_view)>& note) {
  const bool notes = verbose || IsTerminal(STDERR_FILENO);
  if (notes) {
    ASSIGN_OR_RETURN(const MemoryPlan plan, Engine::Plan(folder, options));
    note(PlanLine(folder, plan, AvailableMemoryBytes()));
  }
  ProgressBar bar("loading");
  options.load.progress = [&bar, also = options.load.progress](uint64_t done, uint64_t total) {
    bar.Update(done, total);
    if (also) also(done, total);
  };
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Load(folder, options));
  bar.Clear();
  if (notes) note(LoadedLine(*engine));
  if (notes) note(fmt::format("peak memory {}", BytesText(PeakResidentBytes())));
  if (verbose)
    for (const std::string& warning : ConfigWarnings(engine->config())) note("note: " + warning);
  if (HasRandomWeights(folder))
    note("note: this model's weights are random; it runs as a real one does, and what it says means nothing");
  return engine;
}

}  // namespace hadal
