#include "cli/train_tokenizer.h"

#include <memory>
#include <optional>

#include "base/cpu_info.h"
#include "base/progress.h"
#include "cli/flags.h"
#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "train/data/tokenizer_trainer.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Learns a byte-level BPE tokenizer from files or folders of files (.txt, .jsonl, as 'hadal train prepare'
takes them) and writes a folder with tokenizer.json, in Hugging Face's format, and tokenizer_config.json
with a chat template. Without --chat-template that is one in DeepSeek-V3.1's manner: <｜User｜>, <｜Assistant｜>,
<think>, tool calls.

Example:
  hadal train tokenizer chats.jsonl books --vocab-size 8192 --out small)";

constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

struct TokenizerFlags {
  train::TokenizerTrainerOptions options;
  std::vector<std::string> inputs;
  std::string out, chat_template;
  int threads = 0;
  bool json = false;
};

Result<int> RunTokenizer(TokenizerFlags& flags) {
  train::TokenizerTrainerOptions& options = flags.options;
  options.inputs.assign(flags.inputs.begin(), flags.inputs.end());
  options.out = flags.out;
  options.threads = flags.threads > 0 ? flags.threads : UsableProcessors();
  if (!flags.chat_template.empty()) {
    ASSIGN_OR_RETURN(options.chat_template, ReadFile(flags.chat_template, kMaxTemplateBytes));
  }
  const InterruptGuard interrupt(/*also_terminate=*/true);
  std::string label;
  std::optional<ProgressBar> bar;
  options.progress = [&](const char* what, uint64_t done, uint64_t total) {
    if (label != what) bar.emplace(label = what, /*bytes=*/label == "counting");
    bar->Update(done, total);
    return !interrupt.Requested();
  };
  ASSIGN_OR_RETURN(const train::TokenizerReport report, train::TrainTokenizer(options));
  bar.reset();
  if (report.vocab_size < options.vocab_size)
    PrintNote(fmt::format("{} tokens instead of {}: no other pair occurs {} times", report.vocab_size,
                          options.vocab_size, options.min_count));
  if (flags.json) {
    RETURN_IF_ERROR(Print(JsonText({{"out", flags.out},
                                    {"vocab_size", report.vocab_size},
                                    {"merges", report.merges},
                                    {"text_bytes", report.text_bytes},
                                    {"pieces", report.pieces},
                                    {"distinct_pieces", report.distinct_pieces},
                                    {"skipped", report.skipped}}) +
                          "\n"));
    return kExitOk;
  }
  std::string text = fmt::format("{} tokens from {} of text, {} different pieces: {}\n", report.vocab_size,
                                 BytesText(report.text_bytes), report.distinct_pieces, flags.out);
  if (report.skipped > 0) text += fmt::format("{} lines left out that cannot be used\n", report.skipped);
  RETURN_IF_ERROR(Print(text));
  return kExitOk;
}

}  // namespace

void AddTrainTokenizer(CLI::App& train, Action& action) {
  const auto flags = std::make_shared<TokenizerFlags>();
  train::TokenizerTrainerOptions& options = flags->options;
  CLI::App* verb = train.add_subcommand("tokenizer", "Learn a tokenizer from text");
  verb->footer(kAbout);
  verb->add_option("INPUT", flags->inputs, "Files that end in .txt or .jsonl, and folders of such")
      ->required();
  verb->add_option("--out", flags->out, "Folder to make")->type_name("DIR")->required();
  Setting(AddNumber(*verb, "--vocab-size", options.vocab_size, 270, 1 << 24,
                    "Tokens at most, all kinds together"),
          "data.vocab_size");
  Setting(AddNumber(*verb, "--min-count", options.min_count, 1, 1e12,
                    "A pair that occurs less often becomes no token"),
          "data.min_count");
  Setting(AddNumber(*verb, "--digits", options.digits, 1, 3, "Digits of a number that may share a token"),
          "data.digits");
  verb->add_option("--special", options.special, "One more special token; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  verb->add_option("--chat-template", flags->chat_template,
                   "File of a Jinja chat template instead of the default one")
      ->type_name("FILE");
  verb->add_flag("--skip-bad-lines", options.skip_bad, "Leave lines out that cannot be used, and count them");
  Setting(AddNumber(*verb, "--threads", flags->threads, 0, 4096, "Threads; 0: every usable processor"),
          "data.threads");
  verb->add_flag("--json", flags->json, "Print a JSON object about what was written");
  verb->callback([flags, &action] { action = [flags] { return RunTokenizer(*flags); }; });
}

}  // namespace hadal
