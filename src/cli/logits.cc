// hadal logits: the logits of given token ids, into a file.
#include "engine/logits.h"

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/cpu_info.h"
#include "base/progress.h"
#include "cli/engine_flags.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "model/safetensors_writer.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Computes the logits of token ids and writes them as a safetensors file. Each --ids is one
sequence; all of them run as one batch, and none changes another's numbers. The file holds, for
sequence I:
  logits.I          F32 [positions, vocabulary]
  greedy.I          I64 [N]                       with --greedy N
  hidden.I.LAYER    F32 [positions, hidden size]  with --hidden: the residual after each layer
positions are all of the sequence's, or the last N with --last N.

Example:
  hadal logits --model DIR --ids 1,2,3 --ids @more.txt --last 1 --greedy 8 --out l.safetensors)";

struct LogitsFlags {
  EngineFlags engine;
  std::vector<std::string> ids;
  LogitsRequest request;
  std::string attention = "auto";
  std::string out;
  bool json = false;
};

std::span<const std::byte> BytesOf(const Buffer<float>& values) {
  return std::as_bytes(std::span(values.data(), static_cast<size_t>(values.size())));
}

/// What the file holds, the 64-bit tensors first so that all are aligned.
std::vector<TensorDeclaration> Declarations(const ModelConfig& config,
                                            const std::vector<SequenceLogits>& results) {
  std::vector<TensorDeclaration> tensors;
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i].greedy.empty())
      tensors.push_back(
          {fmt::format("greedy.{}", i), DType::kI64, {static_cast<int64_t>(results[i].greedy.size())}});
  for (size_t i = 0; i < results.size(); ++i) {
    tensors.push_back({fmt::format("logits.{}", i), DType::kF32, {results[i].positions, config.vocab_size}});
    for (size_t layer = 0; layer < results[i].hidden.size(); ++layer)
      tensors.push_back(
          {fmt::format("hidden.{}.{}", i, layer), DType::kF32, {results[i].positions, config.hidden_size}});
  }
  return tensors;
}

/// The file with all results; in the order of Declarations.
Status WriteResults(const Path& out, const ModelConfig& config, const std::vector<SequenceLogits>& results) {
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(out, Declarations(config, results)));
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i].greedy.empty())
      RETURN_IF_ERROR(writer.Write(fmt::format("greedy.{}", i), std::as_bytes(std::span(results[i].greedy))));
  for (size_t i = 0; i < results.size(); ++i) {
    RETURN_IF_ERROR(writer.Write(fmt::format("logits.{}", i), BytesOf(results[i].logits)));
    for (size_t layer = 0; layer < results[i].hidden.size(); ++layer)
      RETURN_IF_ERROR(writer.Write(fmt::format("hidden.{}.{}", i, layer), BytesOf(results[i].hidden[layer])));
  }
  return writer.Finish();
}

/// kResourceExhausted if model and results do not fit together, before a weight is read.
Status CheckMemory(const Path& folder, const EngineOptions& options, uint64_t result_bytes) {
  ASSIGN_OR_RETURN(const MemoryPlan plan, Engine::Plan(folder, options));
  const uint64_t available = AvailableMemoryBytes();
  if (plan.total() > available || result_bytes <= available - plan.total())
    return {};  // Engine::Load says the first
  return ResourceExhausted(
      "the results take {} of memory beside {} for the model, and {} is available; ask for fewer "
      "positions (--last)",
      BytesText(result_bytes), BytesText(plan.total()), BytesText(available));
}

Status PrintSummary(const LogitsFlags& flags, const std::vector<SequenceLogits>& results, double seconds) {
  int64_t tokens = 0, positions = 0;
  nlohmann::ordered_json sequences = nlohmann::ordered_json::array();
  for (size_t i = 0; i < results.size(); ++i) {
    const size_t length = flags.request.ids[i].size();
    tokens += static_cast<int64_t>(length);
    positions += results[i].positions;
    nlohmann::ordered_json one = {{"tokens", length}, {"positions", results[i].positions}};
    if (!results[i].greedy.empty()) one["greedy"] = results[i].greedy;
    sequences.push_back(std::move(one));
  }
  if (flags.json) {
    const nlohmann::ordered_json json = {
        {"out", flags.out}, {"sequences", std::move(sequences)}, {"seconds", seconds}};
    return Print(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }
  return Print(fmt::format("{}: logits of {} positions; {} sequences, {} tokens, {:.2f} s\n", flags.out,
                           positions, results.size(), tokens, seconds));
}

Result<int> RunLogits(LogitsFlags& flags) {
  LogitsRequest& request = flags.request;
  RETURN_IF_ERROR(CheckOutputFile(flags.out));
  for (const std::string& text : flags.ids) {
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, ParseIds(text));
    request.ids.push_back(std::move(ids));
  }
  if (flags.attention == "plain") request.attention = AttentionForm::kPlain;
  if (flags.attention == "absorbed") request.attention = AttentionForm::kAbsorbed;
  ASSIGN_OR_RETURN(const Path folder, FindModelFolder(flags.engine.model));
  ASSIGN_OR_RETURN(const ModelConfig config, LoadConfig(folder));
  RETURN_IF_ERROR(CheckLogitsRequest(config, request));
  ASSIGN_OR_RETURN(EngineOptions options, ToEngineOptions(flags.engine));
  options = LogitsEngineOptions(std::move(options), config, request);
  RETURN_IF_ERROR(CheckMemory(folder, options, LogitsResultBytes(config, request)));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, LoadEngine(folder, options, flags.engine.verbose));

  const InterruptGuard interrupt;
  ProgressBar bar("computing", /*bytes=*/false);
  request.progress = [&](int64_t done, int64_t total) {
    bar.Update(static_cast<uint64_t>(done), static_cast<uint64_t>(total));
    return !interrupt.Requested();
  };
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const std::vector<SequenceLogits> results, ComputeLogits(*engine, request));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  bar.Clear();
  RETURN_IF_ERROR(WriteResults(flags.out, config, results));
  RETURN_IF_ERROR(PrintSummary(flags, results, seconds));
  return kExitOk;
}

}  // namespace

void AddLogits(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<LogitsFlags>();
  CLI::App* verb = app.add_subcommand("logits", "Logits of given token ids, into a file");
  verb->footer(kAbout);
  AddEngineFlags(*verb, flags->engine);
  verb->add_option("--ids", flags->ids, "Token ids of one sequence: 1,2,3 or @FILE; may be given again")
      ->type_name("IDS")
      ->allow_extra_args(false)
      ->required();
  AddNumber(*verb, "--last", flags->request.last, 0, 1e9,
            "Only the last N positions of each sequence; 0: all");
  AddNumber(*verb, "--greedy", flags->request.greedy, 0, 1e9,
            "Continue each sequence by its N likeliest tokens, past its end token too");
  verb->add_flag("--hidden", flags->request.hidden, "Also the residual stream after each layer");
  AddChoice(*verb, "--attention", flags->attention, {"auto", "plain", "absorbed"},
            "Form of attention: auto is plain for given and absorbed for continued tokens");
  verb->add_option("--out", flags->out, "File to write")->type_name("FILE")->required();
  verb->add_flag("--json", flags->json, "Print a JSON object about what was written");
  verb->callback([flags, &action] { action = [flags] { return RunLogits(*flags); }; });
}

}  // namespace hadal
