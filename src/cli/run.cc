// hadal run: answers a prompt, or holds a conversation in the terminal.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli/chat.h"
#include "cli/engine_flags.h"
#include "cli/json_lines.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/remote_conversation.h"
#include "cli/sampling_flags.h"
#include "cli/verbs.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(With PROMPT, prints the answer as it comes and exits. Without one, on a terminal, holds a
conversation (/help there lists its commands; Ctrl-C stops an answer, not the program; what was
entered is kept in ~/.local/state/hadal/history); elsewhere the prompt is read from standard input.
The conversation goes through the model's chat template, unless --raw is given.

--json prints one object: text, ids, finish_reason (stop, length, context, interrupted), prompt_tokens,
generated_tokens, seconds, seed. An interrupted answer exits with 1.

With --server the model runs there, not here: a hadal or any service with OpenAI's chat API. What it
reasons is dimmed on a terminal, and in "reasoning" with --json, which then has no ids.

Examples:
  hadal run --model DIR "Why is the deep sea dark?"
  hadal run --file report.txt --system "Be brief." --max-tokens 300 "Summarise this."
  hadal run -- "--help is a flag of what?"         (behind --, nothing is a flag)
  hadal run --server https://models.example:8443 --ca ca.crt --token-file token "Hello"
  hadal run --raw --greedy --max-tokens 20 "The deep sea is")";

constexpr size_t kMaxPromptBytes = size_t{64} << 20;
constexpr int64_t kUsualContext = 4096;

struct RunFlags {
  EngineFlags engine;
  SamplingFlags sampling;
  RemoteFlags remote;
  std::string prompt, system, file, variables = "{}";
  bool raw = false, json = false;
};

struct PromptText {
  std::string file;  // the text of --file
  std::string prompt;
  bool converse = false;  // there is no prompt, and a terminal to ask for some
};

/// What is needed before the weights are loaded: what is wrong with it is said at once.
struct Prepared {
  Path folder;
  ModelConfig config;
  Tokenizer tokenizer;
  TerminalChat chat;
  PromptText text;
};

Result<std::optional<ChatTemplate>> LoadTemplate(const Path& folder, bool raw) {
  if (raw) return std::nullopt;
  auto chat_template = ChatTemplate::Load(folder);
  if (!chat_template && chat_template.error().code == Code::kNotFound)
    return NotFound("{} has no chat template; give --raw to have a text continued as it is", folder.string());
  if (!chat_template) return tl::unexpected(chat_template.error());
  return std::move(chat_template).value();
}

std::string Joined(std::string first, const std::string& second) {
  if (!first.empty() && !second.empty()) first += "\n\n";
  return first + second;
}

Result<PromptText> ReadPrompt(const RunFlags& flags) {
  PromptText prepared;
  if (!flags.file.empty()) {
    ASSIGN_OR_RETURN(prepared.file, ReadFile(flags.file, kMaxPromptBytes, FileKind::kAny));
  }
  prepared.prompt = flags.prompt;
  if (!flags.prompt.empty()) return prepared;
  prepared.converse = IsTerminal(STDIN_FILENO) && !flags.json;
  if (!IsTerminal(STDIN_FILENO)) {
    ASSIGN_OR_RETURN(prepared.prompt, ReadAll(stdin, kMaxPromptBytes, "the prompt"));
    if (prepared.prompt.ends_with('\n')) prepared.prompt.pop_back();  // what echo adds
  }
  if (!prepared.converse && prepared.prompt.empty() && prepared.file.empty())
    return InvalidArgument("there is no prompt; give one as an argument, with --file or on standard input");
  return prepared;
}

Result<nlohmann::ordered_json> ParseVariables(const std::string& text) {
  auto variables = ParseJsonText(text);
  if (!variables || !variables->is_object())
    return InvalidArgument("--variables takes a JSON object, such as {{\"thinking\": true}}, and is '{}'",
                           text.substr(0, 64));
  return variables;
}

Result<Prepared> Prepare(const RunFlags& flags) {
  ASSIGN_OR_RETURN(Path folder, FindModelFolder(flags.engine.model));
  // Before the tokenizer: a folder that is no model is best named by what it lacks first.
  ASSIGN_OR_RETURN(ModelConfig config, LoadConfig(folder));
  ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(folder));
  ASSIGN_OR_RETURN(std::optional<ChatTemplate> chat_template, LoadTemplate(folder, flags.raw));
  ASSIGN_OR_RETURN(auto variables, ParseVariables(flags.variables));
  if (flags.raw && !flags.system.empty())
    return InvalidArgument("--system needs a chat template, and --raw goes without one");
  TerminalChat chat(std::move(chat_template), std::move(variables), flags.system);
  ASSIGN_OR_RETURN(PromptText text, ReadPrompt(flags));
  return Prepared{std::move(folder), std::move(config), std::move(tokenizer), std::move(chat),
                  std::move(text)};
}

/// The context in which a single prompt and its answer are to fit: what is asked for, else 4096 or as much
/// more as they need. kInvalidArgument if the prompt does not fit; loading a large model first would take
/// minutes.
Result<int64_t> ContextFor(const Prepared& prepared, int64_t asked, int64_t max_tokens) {
  ASSIGN_OR_RETURN(const std::string prompt,
                   prepared.chat.Prompt(Joined(prepared.text.file, prepared.text.prompt)));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   EncodePrompt(prepared.tokenizer, prepared.config, prompt, !prepared.chat.has_template()));
  const int64_t tokens = static_cast<int64_t>(ids.size()), most = prepared.config.max_position_embeddings;
  if (const int64_t limit = asked > 0 ? std::min(asked, most) : most; tokens >= limit)
    return InvalidArgument(
        "the prompt has {} tokens and leaves no room for an answer in a context of {}; shorten it "
        "or raise --context (the model allows {})",
        tokens, limit, most);
  if (asked > 0) return asked;
  return std::min(most, std::max(kUsualContext, tokens + std::min(max_tokens, kUsualContext)));
}

/// The conversation with a service: nothing of the model is here.
Result<int> RunOverNetwork(const RunFlags& flags) {
  if (flags.raw)
    return InvalidArgument("--raw continues a text with a model in this process; leave --server out");
  ASSIGN_OR_RETURN(const PromptText prompt, ReadPrompt(flags));
  auto variables = ParseVariables(flags.variables);
  RETURN_IF_ERROR(variables);
  InterruptGuard interrupt;
  ASSIGN_OR_RETURN(RemoteConversation conversation,
                   RemoteConversation::Connect(flags.remote, flags.sampling, std::move(*variables),
                                               flags.system, [&interrupt] { return interrupt.Requested(); }));
  if (flags.engine.verbose)
    PrintNote(fmt::format("model {} of {}", conversation.model(), flags.remote.server));
  if (prompt.converse) return RunRepl(conversation, prompt.file, interrupt, flags.engine.verbose);
  return AnswerOnce(conversation, Joined(prompt.file, prompt.prompt), flags.json, flags.sampling.seed,
                    flags.engine.verbose);
}

Result<int> RunVerb(const RunFlags& flags) {
  if (!flags.remote.server.empty()) return RunOverNetwork(flags);
  ASSIGN_OR_RETURN(Prepared prepared, Prepare(flags));
  ASSIGN_OR_RETURN(
      const SamplingParams params,
      ToSamplingParams(flags.sampling, prepared.folder, DrawnIds(prepared.config, prepared.tokenizer)));
  ASSIGN_OR_RETURN(EngineOptions options, ToEngineOptions(flags.engine));
  if (!prepared.text.converse) {
    ASSIGN_OR_RETURN(options.context, ContextFor(prepared, options.context, params.max_tokens));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   LoadEngine(prepared.folder, options, flags.engine.verbose));
  InterruptGuard interrupt;
  ASSIGN_OR_RETURN(Generator generator, Generator::Create(*engine, prepared.tokenizer, params,
                                                          [&interrupt] { return interrupt.Requested(); }));
  LocalConversation conversation(prepared.chat, generator);
  if (prepared.text.converse)
    return RunRepl(conversation, prepared.text.file, interrupt, flags.engine.verbose);
  return AnswerOnce(conversation, Joined(prepared.text.file, prepared.text.prompt), flags.json, params.seed,
                    flags.engine.verbose);
}

}  // namespace

void AddRun(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<RunFlags>();
  CLI::App* verb = app.add_subcommand("run", "Answer a prompt, or chat in the terminal");
  verb->footer(kAbout);
  verb->add_option("prompt", flags->prompt, "What to answer")->type_name("PROMPT");
  AddEngineFlags(*verb, flags->engine);
  AddSamplingFlags(*verb, flags->sampling);
  AddRemoteFlags(*verb, flags->remote);
  verb->add_option("--system", flags->system, "System message")->type_name("TEXT");
  verb->add_option("--file", flags->file, "Put this file's text before the prompt")->type_name("FILE");
  verb->add_option("--variables", flags->variables, "Further template variables: a JSON object")
      ->type_name("JSON");
  verb->add_flag("--raw", flags->raw,
                 "No chat template: continue the text as it is, after the model's first token");
  verb->add_flag("--json", flags->json, "Print one JSON object when the answer is complete");
  verb->callback([flags, &action] { action = [flags] { return RunVerb(*flags); }; });
}

}  // namespace hadal
