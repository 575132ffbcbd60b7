// hadal render: a conversation as the model's chat template writes it.
#include <cstdio>
#include <memory>

#include "cli/engine_flags.h"
#include "cli/json_lines.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "text/chat_template.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Reads one JSON object from standard input and prints the text that the chat template of the model
folder makes of it, with no newline added. The object has 'messages', and may have 'tools',
'add_generation_prompt' and whatever else the template knows ('thinking', say). Special tokens come
from tokenizer_config.json.

Example:
  echo '{"messages": [{"role": "user", "content": "Hi"}]}' | hadal render --model DIR)";

constexpr size_t kMaxInputBytes = size_t{256} << 20;

struct RenderFlags {
  std::string model;
  bool json = false;
};

Result<int> RunRender(const RenderFlags& flags) {
  ASSIGN_OR_RETURN(const Path folder, FindModelFolder(flags.model));
  ASSIGN_OR_RETURN(const ChatTemplate chat_template, ChatTemplate::Load(folder));
  ASSIGN_OR_RETURN(const std::string input, ReadAll(stdin, kMaxInputBytes, "the input"));
  ASSIGN_OR_RETURN(const std::string text, chat_template.RenderJson(input));
  RETURN_IF_ERROR(Print(flags.json ? JsonText({{"text", text}}) + "\n" : text));
  return kExitOk;
}

}  // namespace

void AddRender(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<RenderFlags>();
  CLI::App* verb = app.add_subcommand("render", "A conversation as the chat template writes it");
  verb->footer(kAbout);
  AddModelFlag(*verb, flags->model);
  verb->add_flag("--json", flags->json, "Print a JSON object {\"text\": ...}");
  verb->callback([flags, &action] { action = [flags] { return RunRender(*flags); }; });
}

}  // namespace hadal
