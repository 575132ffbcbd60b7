// hadal convert: another weight format, folder in, folder out.
#include "model/convert.h"

#include <memory>

#include "base/cpu_info.h"
#include "base/progress.h"
#include "cli/engine_flags.h"
#include "cli/folder_report.h"
#include "cli/model_folder.h"
#include "cli/terminal.h"
#include "cli/verbs.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Writes a copy of a model folder with its weights in another format: bf16, fp8 (DeepSeek's
blocks of 128 x 128), int8 or int4 (compressed-tensors, a scale for each group of a row).
Norms, embedding, head and router keep theirs, but for a quantised head, which becomes bf16. The
folder appears when it is complete, or not at all; the source is not changed.

With --lora the adapter of a fine-tuning run (adapter/ of its folder, or one in the PEFT library's
layout) is added to the weights on the way, whatever their format.

Example:
  hadal convert --model DeepSeek-V3 --weights int4 --group 32 --out DeepSeek-V3-int4
  hadal convert --model DeepSeek-V3 --lora run/adapter --weights fp8 --out DeepSeek-V3-tuned)";

struct ConvertFlags {
  ConvertOptions options;
  std::string model, lora, out;
  int threads = 0;
  bool json = false;
};

Result<int> RunConvert(ConvertFlags& flags) {
  ConvertOptions& options = flags.options;
  ASSIGN_OR_RETURN(options.in, FindModelFolder(flags.model));
  options.out = flags.out;
  options.adapter = flags.lora;
  ThreadPool pool(flags.threads > 0 ? flags.threads : UsableProcessors());
  const InterruptGuard interrupt(/*also_terminate=*/true);
  ProgressBar bar("converting");
  FolderReport report(flags.out);
  options.progress = [&](uint64_t done, uint64_t total) {
    report.bytes = done;
    bar.Update(done, total);
    return !interrupt.Requested();
  };
  RETURN_IF_ERROR(Convert(options, pool));
  bar.Clear();
  RETURN_IF_ERROR(report.Print(flags.json));
  return kExitOk;
}

}  // namespace

void AddConvert(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<ConvertFlags>();
  CLI::App* verb = app.add_subcommand("convert", "Change the weight format, folder in, folder out");
  verb->footer(kAbout);
  AddModelFlag(*verb, flags->model);
  AddChoice(*verb, "--weights", flags->options.weights, {"bf16", "fp8", "int8", "int4"},
            "Format of the new weights")
      ->required();
  AddNumber(*verb, "--group", flags->options.group, 32, 128,
            "Weights that share a scale, of int8 and int4: 32, 64 or 128");
  verb->add_option("--lora", flags->lora, "Folder of a LoRA adapter to merge into the weights")->type_name("DIR");
  verb->add_option("--out", flags->out, "Folder to make")->type_name("DIR")->required();
  AddNumber(*verb, "--threads", flags->threads, 0, 4096, "Threads; 0: every usable processor");
  verb->add_flag("--json", flags->json, "Print a JSON object about what was written");
  verb->callback([flags, &action] { action = [flags] { return RunConvert(*flags); }; });
}

}  // namespace hadal
