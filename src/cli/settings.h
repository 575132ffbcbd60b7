// Settings: flags whose values may also stand in hadal.yaml and in HADAL_... variables.
//
// A flag becomes a setting where it is declared, by the key that it has in the file:
//   Setting(AddNumber(verb, "--threads", flags.threads, 0, 4096, "Threads; 0: ..."), "engine.threads");
// A value is taken from the flag, else from the variable (HADAL_ENGINE_THREADS), else from the file, else it
// is the default. All of them pass the flag's own checks. A verb reads its own settings and accepts those of
// all others.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "cli/config_file.h"

namespace hadal {

/// `option` may also be set under `key`: "section.name" or, at the top, "name", in lower case; a section's
/// name and a name at the top are single words.
///
/// A flag without a value is true or false in the file. An option that may be repeated is a list; of a list
/// of maps each map is given to the option as "name=value,name=value", in which a backslash stands before a
/// comma or a backslash of a value.
CLI::Option* Setting(CLI::Option* option, std::string_view key);

/// A switch that can be turned off as well: --name and --no-name. Its default is `value`.
CLI::Option* AddSwitch(CLI::App& verb, const std::string& name, bool& value, const char* text);

/// "HADAL_ENGINE_TARGET_TPOT_MS" of "engine.target_tpot_ms".
std::string VariableOf(std::string_view key);

/// One key, as people are told of it.
struct SettingInfo {
  std::string key, flag, type, text;
  std::string fallback;            // the default as it is written in the file; empty: none
  std::vector<std::string> verbs;  // that read it: "run", "bench model"
  bool is_list = false, is_switch = false;
};

class Settings {
 public:
  /// Collects the settings of all verbs of `app`, and gives those that have any --config and --print-config.
  /// Once; `app` and this live equally long.
  void Collect(CLI::App& app);

  /// Once `app` is parsed: gives the settings of `verb` that no flag named their values from environment and
  /// file. The file is that of --config, else of HADAL_CONFIG, else ./hadal.yaml, else /etc/hadal/hadal.yaml;
  /// the last two may be missing. kInvalidArgument names the variable or the file and line, the key, what is
  /// there and what was expected; of an unknown key it names the nearest known one.
  Status Apply(CLI::App& verb);

  /// The key of an option; empty: it is no setting.
  std::string_view KeyOf(const CLI::Option* option) const;
  /// Whether --print-config was given.
  bool print_asked() const { return print_; }
  /// The file that Apply read; empty: none.
  const std::string& file() const { return used_file_; }
  /// After Apply: the values that `verb` runs with, as a hadal.yaml in which comments say where each is from.
  /// User names and passwords in addresses are masked.
  std::string Effective(const CLI::App& verb) const;

  /// Every key once: the top first, then sections in the order in which verbs declare them.
  std::vector<SettingInfo> All() const;

 private:
  struct Bound {
    CLI::App* verb;
    CLI::Option* option;
    std::string key;
    std::string origin;  // after Apply: "flag --threads", "HADAL_ENGINE_THREADS", "hadal.yaml:3", "default"
  };

  Result<ConfigValue> ReadFile();
  Status CheckKeys(const ConfigValue& root) const;
  Status ApplyOne(Bound& setting, const ConfigValue& root) const;
  bool HasKey(std::string_view key) const;
  bool HasSection(std::string_view word) const;

  std::vector<Bound> bound_;
  std::string asked_file_, used_file_;
  bool print_ = false;
};

}  // namespace hadal
