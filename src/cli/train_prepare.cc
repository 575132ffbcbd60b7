#include "cli/train_prepare.h"

#include <memory>

#include "base/cpu_info.h"
#include "base/progress.h"
#include "cli/flags.h"
#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "train/data/prepare.h"

namespace hadal {
namespace {

using train::PrepareCounts;
using train::PrepareReport;
using train::TextDocuments;

constexpr const char* kAbout =
    R"(Writes folders of token shards, as 'hadal train --data' reads them, from files or folders of files:
  .txt    text; --text-documents says where a document ends
  .jsonl  an object a line: {"text": "..."} or {"messages": [...], "tools": [...]}
Text is learnt whole. Chats are written by the tokenizer folder's chat template, and only the
assistant's turns are learnt, each after the prompt that serving would make of what precedes it.

Interrupted, or killed, it goes on where it was when it is run again; what comes out is the same.

Example:
  hadal train prepare chats.jsonl books --tokenizer small --out shards/train \
      --held-out shards/held-out --held-out-share 0.01)";

struct PrepareFlags {
  std::vector<std::string> inputs;
  std::string tokenizer, out, held_out, documents = "file";
  double share = 0;
  int64_t seed = 0;
  int threads = 0;
  bool skip_bad = false, json = false;
};

TextDocuments DocumentsNamed(const std::string& name) {
  if (name == "blank-lines") return TextDocuments::kBlankLines;
  return name == "form-feeds" ? TextDocuments::kFormFeeds : TextDocuments::kFile;
}

nlohmann::ordered_json CountsJson(const PrepareCounts& counts) {
  return {{"documents", counts.documents},
          {"tokens", counts.tokens},
          {"learnt_tokens", counts.learnt_tokens},
          {"shards", counts.shards}};
}

std::string CountsLine(std::string_view name, const PrepareCounts& counts, const std::string& folder) {
  return fmt::format("{:<9} {} documents, {} tokens ({} learnt), {} shards: {}\n", name, counts.documents,
                     counts.tokens, counts.learnt_tokens, counts.shards, folder);
}

Status PrintReport(const PrepareFlags& flags, const PrepareReport& report) {
  for (const std::string& example : report.skipped_examples) PrintNote("left out: " + example);
  if (flags.json)
    return Print(JsonText({{"out", flags.out},
                           {"training", CountsJson(report.training)},
                           {"held_out", CountsJson(report.held_out)},
                           {"skipped", report.skipped},
                           {"units", report.units},
                           {"reused_units", report.reused_units},
                           {"input_bytes", report.input_bytes}}) +
                 "\n");
  std::string text = CountsLine("training", report.training, flags.out);
  if (flags.share > 0) text += CountsLine("held out", report.held_out, flags.held_out);
  if (report.skipped > 0) text += fmt::format("left out  {} documents that cannot be used\n", report.skipped);
  return Print(text);
}

Result<int> RunPrepare(const PrepareFlags& flags) {
  if (flags.tokenizer.empty())
    return InvalidArgument(
        "no tokenizer is given; name a model folder, or one of 'hadal train tokenizer', with --tokenizer");
  if (flags.share > 0 && flags.held_out.empty())
    return InvalidArgument("--held-out-share needs --held-out, a folder for what is held out");
  if (flags.share == 0 && !flags.held_out.empty())
    return InvalidArgument("--held-out needs --held-out-share, the share of documents that goes there");
  const InterruptGuard interrupt(/*also_terminate=*/true);
  ProgressBar bar("preparing");
  train::PrepareOptions options{.inputs = std::vector<Path>(flags.inputs.begin(), flags.inputs.end()),
                                .tokenizer = flags.tokenizer,
                                .out = flags.out,
                                .held_out = flags.held_out,
                                .held_out_share = flags.share,
                                .seed = static_cast<uint64_t>(flags.seed),
                                .text_documents = DocumentsNamed(flags.documents),
                                .skip_bad = flags.skip_bad,
                                .threads = flags.threads > 0 ? flags.threads : UsableProcessors(),
                                .unit_bytes = 0,
                                .progress = [&](uint64_t done, uint64_t total) {
                                  bar.Update(done, total);
                                  return !interrupt.Requested();
                                }};
  ASSIGN_OR_RETURN(const PrepareReport report, train::Prepare(options));
  bar.Clear();
  RETURN_IF_ERROR(PrintReport(flags, report));
  return kExitOk;
}

}  // namespace

void AddTrainPrepare(CLI::App& train, Action& action) {
  const auto flags = std::make_shared<PrepareFlags>();
  CLI::App* verb = train.add_subcommand("prepare", "Text and chats to token shards");
  verb->footer(kAbout);
  verb->add_option("INPUT", flags->inputs, "Files that end in .txt or .jsonl, and folders of such")
      ->required();
  Setting(
      verb->add_option("--tokenizer", flags->tokenizer, "Folder of tokenizer.json and tokenizer_config.json")
          ->type_name("DIR"),
      "data.tokenizer");
  verb->add_option("--out", flags->out, "Folder to make, for training")->type_name("DIR")->required();
  verb->add_option("--held-out", flags->held_out, "Folder to make, for evaluation")->type_name("DIR");
  Setting(
      AddNumber(*verb, "--held-out-share", flags->share, 0, 0.99, "Share of the documents that is held out"),
      "data.held_out_share");
  Setting(AddNumber(*verb, "--seed", flags->seed, 0, 9e15, "Of the choice of what is held out"), "data.seed");
  Setting(
      AddChoice(*verb, "--text-documents", flags->documents, {"file", "blank-lines", "form-feeds"},
                "What a document of a .txt is: the file, or what stands between blank lines or form feeds"),
      "data.text_documents");
  Setting(verb->add_flag("--skip-bad-lines", flags->skip_bad,
                         "Leave documents out that cannot be used, and count them"),
          "data.skip_bad_lines");
  Setting(AddNumber(*verb, "--threads", flags->threads, 0, 4096, "Threads; 0: every usable processor"),
          "data.threads");
  verb->add_flag("--json", flags->json, "Print a JSON object about what was written");
  verb->callback([flags, &action] { action = [flags] { return RunPrepare(*flags); }; });
}

}  // namespace hadal
