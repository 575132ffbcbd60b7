// hadal config: what hadal.yaml may say.
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/settings_text.h"
#include "cli/verbs.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(One file configures everything: hadal.yaml. It is that of --config, else of HADAL_CONFIG, else
./hadal.yaml, else /etc/hadal/hadal.yaml. A flag goes before a variable, a variable before the file.
Unknown keys, keys that stand twice, and on and yes for true are refused.

Example:
  hadal config example > hadal.yaml        every key, in comments, with its default
  hadal config keys --json                 the same for programs
  hadal serve --print-config               what a verb runs with, and where each value is from)";

struct ConfigFlags {
  bool json = false, markdown = false;
};

Status PrintKeys(const std::vector<SettingInfo>& settings, const ConfigFlags& flags) {
  if (flags.markdown) return Print(SettingsTables(settings));
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const SettingInfo& info : settings) {
    if (!flags.json) {
      RETURN_IF_ERROR(Print(fmt::format("{:<30} {:<26} {}\n", info.key, info.flag, VariableOf(info.key))));
      continue;
    }
    list.push_back({{"key", info.key},
                    {"flag", info.flag},
                    {"variable", VariableOf(info.key)},
                    {"default", info.fallback},
                    {"text", info.text},
                    {"list", info.is_list},
                    {"verbs", info.verbs}});
  }
  return flags.json ? Print(JsonText(list) + "\n") : Status();
}

}  // namespace

void AddConfig(CLI::App& app, Action& action, std::shared_ptr<const Settings> settings) {
  const auto flags = std::make_shared<ConfigFlags>();
  CLI::App* verb = app.add_subcommand("config", "What the configuration file may say");
  verb->require_subcommand(1)->footer(kAbout);
  verb->add_subcommand("example", "Print a hadal.yaml with every key, explained, in comments")
      ->callback([settings, &action] {
        action = [settings]() -> Result<int> {
          RETURN_IF_ERROR(Print(ExampleFile(settings->All())));
          return kExitOk;
        };
      });
  CLI::App* keys = verb->add_subcommand("keys", "List every key, its flag and its variable");
  CLI::Option* json = keys->add_flag("--json", flags->json, "Print a JSON array");
  keys->add_flag("--markdown", flags->markdown, "Print tables in Markdown")->excludes(json);
  keys->callback([flags, settings, &action] {
    action = [flags, settings]() -> Result<int> {
      RETURN_IF_ERROR(PrintKeys(settings->All(), *flags));
      return kExitOk;
    };
  });
}

}  // namespace hadal
