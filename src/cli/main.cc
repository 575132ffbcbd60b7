// hadal: reads the flags, runs one verb, turns its outcome into an exit code.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>
#include <system_error>
#include <vector>

#include "cli/help_formatter.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/verbs.h"
#include "model/config_keys.h"

namespace hadal {
namespace {

constexpr const char* kExamples = R"(Examples:
  hadal run "Why is the deep sea dark?"            answer once
  hadal run                                        chat in the terminal
  hadal synth --shape v3-tiny --out model          a small model of random weights
  hadal logits --model model --ids 1,2,3 --out l.safetensors

'hadal VERB --help' says all about a verb. A flag goes before a HADAL_... variable, a variable
before hadal.yaml ('hadal config --help'), and the file before defaults.
Exit codes: 0 all is well; 1 a warning, or something could not be checked; 2 it failed.)";

/// The subcommand that parsing reached last.
CLI::App* Deepest(CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().back();
  return app;
}

/// "hadal bench model".
std::string NameWithParents(const CLI::App& verb) {
  const CLI::App* parent = verb.get_parent();
  return parent == nullptr ? verb.get_name() : NameWithParents(*parent) + " " + verb.get_name();
}

std::string_view NearestOf(std::string_view word, const std::vector<std::string>& words) {
  const std::vector<std::string_view> views(words.begin(), words.end());
  return NearestWord(word, views);
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

/// The name of a verb that does not exist, if the first argument is one; the library only says that a verb is
/// missing.
std::string UnknownVerb(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return {};
  const std::string word = argv[1];
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  if (std::find(verbs.begin(), verbs.end(), word) != verbs.end()) return {};
  return fmt::format("there is no verb '{}'; the nearest is '{}', and 'hadal --help' lists all",
                     word.substr(0, 64), NearestOf(word, verbs));
}

/// One sentence for what is wrong with the flags.
std::string FlagSentence(CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* verb = Deepest(&app);
  std::string sentence = error.what();
  auto left = app.remaining(/*recurse=*/true);
  const bool behind_dashes = left.size() > 1 && left.front() == "--";
  if (behind_dashes) left.erase(left.begin());
  if (!left.empty()) {
    const std::string flag = left.front().substr(0, left.front().find('=')).substr(0, 64);
    sentence =
        flag.starts_with("--") && !behind_dashes
            ? fmt::format("there is no flag {}; the nearest is {}", flag, NearestOf(flag, FlagNames(*verb)))
            : fmt::format("'{}' was not expected", flag);
  }
  for (char& c : sentence)
    if (c == '\n') c = ' ';
  return fmt::format("{}; see '{} --help'", sentence, NameWithParents(*verb));
}

/// Says `sentence` and ends the process, from a place where nothing may be allocated.
[[noreturn]] void Die(const char* sentence) {
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, sentence, std::strlen(sentence));
  _exit(kExitFailure);
}

/// Reading a mapped file beyond its end raises SIGBUS: somebody cut it short after it was opened.
void OnBusError(int) { Die("hadal: a file was cut short while it was read; run again when it is at rest\n"); }

/// Unwinding may need memory itself, so where there is none the process ends at once; files appear only when complete.
void OnNoMemory() { Die("hadal: memory ran out; close other programs or take a machine with more of it\n"); }

int Fail(std::string_view sentence) {
  PrintError(sentence);
  return kExitFailure;
}

/// --print-config.
int PrintConfig(const Settings& settings, const CLI::App& verb) {
  Status printed = Print(settings.Effective(verb));
  if (printed) printed = FlushOutput();
  return printed ? kExitOk : Fail(printed.error().message);
}

bool IsVerbose(const CLI::App& verb) {
  const CLI::Option* option = verb.get_option_no_throw("--verbose");
  return option != nullptr && option->count() > 0;
}

int Main(int argc, char** argv) {
  Action action;
  CLI::App app("hadal deploys models of the DeepSeek-V3 family privately.", "hadal");
  const auto formatter = std::make_shared<HelpFormatter>();
  const auto settings = std::make_shared<Settings>();
  app.formatter(formatter);
  app.set_version_flag("--version", "hadal " HADAL_VERSION, "Print the version and exit");
  app.require_subcommand(1);
  app.footer(kExamples);
  AddRun(app, action);
  AddServe(app, action);
  AddBench(app, action);
  AddTrain(app, action);
  AddLogits(app, action);
  AddTokenize(app, action);
  AddRender(app, action);
  AddSynth(app, action);
  AddConvert(app, action);
  AddUser(app, action);
  AddClient(app, action);
  AddToken(app, action);
  AddCert(app, action);
  AddConfig(app, action, settings);
  settings->Collect(app);
  formatter->set_settings(settings);
  if (const std::string sentence = UnknownVerb(app, argc, argv); !sentence.empty()) return Fail(sentence);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return Fail(FlagSentence(app, error));
  }
  CLI::App* verb = Deepest(&app);
  if (const Status applied = settings->Apply(*verb); !applied) return Fail(applied.error().message);
  if (settings->print_asked()) return PrintConfig(*settings, *verb);
  if (IsVerbose(*verb) && !settings->file().empty()) PrintNote("configuration file: " + settings->file());
  const Result<int> code = action();
  if (!code) return Fail(code.error().message);
  if (const Status written = FlushOutput(); !written) return Fail(written.error().message);
  return *code;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  std::signal(SIGBUS, hadal::OnBusError);
  std::set_new_handler(hadal::OnNoMemory);
  // Libraries may throw where memory ends; nothing half-written stays behind then either.
  try {
    return hadal::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    return hadal::Fail("memory ran out; close other programs or take a machine with more of it");
  } catch (const std::system_error& error) {  // of std::thread, most likely
    return hadal::Fail(fmt::format("the system refused a resource ({}); lower --threads or raise the limits of this user",
                                   error.what()));
  } catch (const std::exception& error) {
    return hadal::Fail(error.what());
  }
}
