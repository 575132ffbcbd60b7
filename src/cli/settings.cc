#include "cli/settings.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <iterator>
#include <system_error>

#include "base/check.h"
#include "model/config_keys.h"

namespace hadal {
namespace {

using Kind = ConfigValue::Kind;

constexpr const char* kPrefix = "HADAL_";
constexpr const char* kHere = "hadal.yaml";
constexpr const char* kSystemFile = "/etc/hadal/hadal.yaml";

/// The key of a variable: its first underscore ends the section.
std::string KeyOfVariable(std::string_view variable) {
  std::string key(variable.substr(std::string_view(kPrefix).size()));
  for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (const size_t end = key.find('_'); end != std::string::npos) key[end] = '.';
  return key;
}

std::string VerbName(const CLI::App& verb) {
  const CLI::App* parent = verb.get_parent();
  const bool top = parent == nullptr || parent->get_parent() == nullptr;
  return top ? verb.get_name() : VerbName(*parent) + " " + verb.get_name();
}

bool IsSwitch(const CLI::Option& option) { return option.get_items_expected_max() == 0; }
bool IsList(const CLI::Option& option) { return option.get_items_expected_max() > 1; }
std::string FlagOf(const CLI::Option& option) { return "--" + option.get_lnames().front(); }

/// Words that some readers of YAML take for booleans: as a text they must stand in quotes.
bool LooksBoolean(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* word : {"y", "n", "yes", "no", "on", "off", "true", "false"})
    if (lower == word) return true;
  return false;
}

/// `text` with a backslash before what ends a field.
std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

Result<std::string> ScalarText(const ConfigValue& value) {
  switch (value.kind) {
    case Kind::kQuoted:
      return value.text;
    case Kind::kNothing:
      return InvalidArgument("there is no value; leave the line out to have the default");
    case Kind::kList:
      return InvalidArgument("a list stands where one value is expected");
    case Kind::kMap:
      return InvalidArgument("a section stands where one value is expected");
    case Kind::kPlain:
      break;
  }
  if (LooksBoolean(value.text))
    return InvalidArgument("'{}' may mean true or false; a text that reads so must be in quotes", value.text);
  return value.text;
}

Result<std::string> SwitchText(const ConfigValue& value) {
  if (value.kind == Kind::kPlain && (value.text == "true" || value.text == "false")) return value.text;
  if (value.kind == Kind::kPlain)
    return InvalidArgument("'{}' is not true or false", value.text.substr(0, 64));
  return InvalidArgument("this is not true or false");
}

/// A map of a list as "name=value,name=value".
Result<std::string> MapText(const ConfigValue& map) {
  std::string text;
  for (const ConfigValue& field : map.items) {
    const bool word = field.kind == Kind::kPlain && (field.text == "true" || field.text == "false");
    const Result<std::string> value = word ? Result<std::string>(field.text) : ScalarText(field);
    if (!value) return InvalidArgument("{}: {}", field.key, value.error().message);
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", field.key, Escaped(*value));
  }
  return text;
}

/// What the option would be given on the command line.
Result<std::vector<std::string>> OptionWords(const CLI::Option& option, const ConfigValue& value) {
  if (!IsList(option)) {
    ASSIGN_OR_RETURN(std::string text, IsSwitch(option) ? SwitchText(value) : ScalarText(value));
    return std::vector<std::string>{std::move(text)};
  }
  if (value.kind != Kind::kList)
    return InvalidArgument("expected a list, with each item behind a dash or in [ ]");
  std::vector<std::string> words;
  for (const ConfigValue& item : value.items) {
    ASSIGN_OR_RETURN(std::string text, item.kind == Kind::kMap ? MapText(item) : ScalarText(item));
    words.push_back(std::move(text));
  }
  return words;
}

/// Gives the option its words, checked as those of the command line are.
Status GiveWords(CLI::Option& option, const std::vector<std::string>& words) {
  if (words.empty()) return {};
  try {
    for (const std::string& word : words) option.add_result(word);
    option.run_callback();
    return {};
  } catch (const CLI::ConversionError&) {
    return InvalidArgument("'{}' is not {}", words.front().substr(0, 64),
                           option.get_type_name().empty() ? "of the kind expected" : option.get_type_name());
  } catch (const CLI::Error& error) {
    std::string sentence = error.what();
    if (const std::string name = option.get_name() + ": "; sentence.starts_with(name))
      sentence.erase(0, name.size());
    return InvalidArgument("{}", sentence);
  }
}

/// The value of `key` in the file; null: it is not there.
const ConfigValue* Find(const ConfigValue& root, std::string_view key) {
  const size_t dot = key.find('.');
  for (const ConfigValue& field : root.items) {
    if (field.key != key.substr(0, dot)) continue;
    if (dot == std::string_view::npos) return &field;
    return field.kind == Kind::kMap ? Find(field, key.substr(dot + 1)) : nullptr;
  }
  return nullptr;
}

/// Words of a variable: a list's are separated by spaces.
std::vector<std::string> VariableWords(const CLI::Option& option, const std::string& text) {
  if (!IsList(option)) return {text};
  std::vector<std::string> words;
  for (size_t begin = 0; (begin = text.find_first_not_of(' ', begin)) != std::string::npos;) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

/// A hadal.yaml of the current folder is taken unasked, so it must be this user's or root's.
Status CheckOwner(const char* path) {
  struct stat info {};
  if (stat(path, &info) != 0 || info.st_uid == geteuid() || info.st_uid == 0) return {};
  return PermissionDenied("./{} belongs to another user; name it with --config to use it all the same", path);
}

}  // namespace

std::string VariableOf(std::string_view key) {
  std::string name = kPrefix;
  for (const char c : key)
    name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

CLI::Option* Setting(CLI::Option* option, std::string_view key) {
  const std::string variable = VariableOf(key);
  HADAL_CHECK(KeyOfVariable(variable) == key);  // key and variable name each other
  return option->envname(variable);
}

CLI::Option* AddSwitch(CLI::App& verb, const std::string& name, bool& value, const char* text) {
  return verb.add_flag(fmt::format("--{},!--no-{}", name, name), value, text)
      ->default_str(value ? "true" : "false");
}

void Settings::Collect(CLI::App& app) {
  std::vector<CLI::App*> pending{&app};
  while (!pending.empty()) {
    CLI::App* verb = pending.back();
    pending.pop_back();
    const std::vector<CLI::App*> below = verb->get_subcommands([](CLI::App*) { return true; });
    pending.insert(pending.end(), below.rbegin(), below.rend());
    const size_t before = bound_.size();
    for (CLI::Option* option : verb->get_options()) {
      if (!option->get_envname().starts_with(kPrefix)) continue;
      bound_.push_back({verb, option, KeyOfVariable(option->get_envname()), {}});
      option->envname("");  // Apply reads it: the library would not say where a bad value is from
    }
    if (bound_.size() == before) continue;
    verb->add_option(
            "--config", asked_file_,
            "Configuration file; without it that of HADAL_CONFIG, ./hadal.yaml or /etc/hadal/hadal.yaml")
        ->type_name("FILE")
        ->group("Configuration");
    verb->add_flag("--print-config", print_, "Print all settings, and where each is from, and exit")
        ->group("Configuration");
  }
}

std::string_view Settings::KeyOf(const CLI::Option* option) const {
  for (const Bound& setting : bound_)
    if (setting.option == option) return setting.key;
  return {};
}

bool Settings::HasKey(std::string_view key) const {
  return std::any_of(bound_.begin(), bound_.end(), [&](const Bound& setting) { return setting.key == key; });
}

bool Settings::HasSection(std::string_view word) const {
  const std::string prefix = std::string(word) + ".";
  return std::any_of(bound_.begin(), bound_.end(), [&](const Bound& b) { return b.key.starts_with(prefix); });
}

Result<ConfigValue> Settings::ReadFile() {
  const char* variable = std::getenv("HADAL_CONFIG");
  used_file_ = asked_file_.empty() && variable != nullptr ? variable : asked_file_;
  std::error_code ignored;
  if (used_file_.empty() && std::filesystem::exists(kHere, ignored)) {
    RETURN_IF_ERROR(CheckOwner(kHere));
    used_file_ = kHere;
  }
  if (used_file_.empty() && std::filesystem::exists(kSystemFile, ignored)) used_file_ = kSystemFile;
  if (used_file_.empty()) {
    ConfigValue nothing;
    nothing.kind = Kind::kMap;
    return nothing;
  }
  return ReadConfigFile(used_file_);
}

Status Settings::CheckKeys(const ConfigValue& root) const {
  std::vector<std::string_view> known;
  for (const Bound& setting : bound_) known.push_back(setting.key);
  const auto unknown = [&](const ConfigValue& field, const std::string& key) {
    return InvalidArgument("{}:{}: there is no key '{}'; the nearest is {}", used_file_, field.line,
                           key.substr(0, 64), NearestWord(key, known));
  };
  for (const ConfigValue& field : root.items) {
    if (HasKey(field.key)) continue;
    if (!HasSection(field.key)) {
      std::vector<std::string_view> top;
      for (const std::string_view key : known) top.push_back(key.substr(0, key.find('.')));
      return InvalidArgument("{}:{}: there is no key '{}'; the nearest is {}", used_file_, field.line,
                             field.key.substr(0, 64), NearestWord(field.key, top));
    }
    if (field.kind == Kind::kNothing) continue;  // a section whose lines are all comments
    if (field.kind != Kind::kMap)
      return InvalidArgument("{}:{}: {} is a section; its keys stand below it, indented", used_file_,
                             field.line, field.key);
    for (const ConfigValue& inner : field.items)
      if (const std::string key = field.key + "." + inner.key; !HasKey(key)) return unknown(inner, key);
  }
  return {};
}

Status Settings::ApplyOne(Bound& setting, const ConfigValue& root) const {
  CLI::Option& option = *setting.option;
  setting.origin = "default";
  if (option.count() > 0) {
    setting.origin = "flag " + FlagOf(option);
    return {};
  }
  const std::string variable = VariableOf(setting.key);
  if (const char* text = std::getenv(variable.c_str()); text != nullptr && *text != '\0') {
    setting.origin = variable;
    const Status given = GiveWords(option, VariableWords(option, text));
    return given ? given : InvalidArgument("{}: {}", variable, given.error().message);
  }
  const ConfigValue* value = Find(root, setting.key);
  if (value == nullptr) return {};
  setting.origin = fmt::format("{}:{}", used_file_, value->line);
  const Result<std::vector<std::string>> words = OptionWords(option, *value);
  const Status given = words ? GiveWords(option, *words) : tl::unexpected(words.error());
  return given ? given : InvalidArgument("{}: {}: {}", setting.origin, setting.key, given.error().message);
}

Status Settings::Apply(CLI::App& verb) {
  const bool reads =
      std::any_of(bound_.begin(), bound_.end(), [&](const Bound& b) { return b.verb == &verb; });
  if (!reads) return {};
  ASSIGN_OR_RETURN(const ConfigValue root, ReadFile());
  RETURN_IF_ERROR(CheckKeys(root));
  for (Bound& setting : bound_)
    if (setting.verb == &verb) RETURN_IF_ERROR(ApplyOne(setting, root));
  return {};
}

std::vector<SettingInfo> Settings::All() const {
  std::vector<SettingInfo> all;
  for (const Bound& setting : bound_) {
    const auto known = std::find_if(all.begin(), all.end(),
                                    [&](const SettingInfo& info) { return info.key == setting.key; });
    if (known != all.end()) {
      known->verbs.push_back(VerbName(*setting.verb));
      continue;
    }
    const CLI::Option& option = *setting.option;
    all.push_back({setting.key,
                   FlagOf(option),
                   option.get_type_name(),
                   option.get_description(),
                   option.get_default_str(),
                   {VerbName(*setting.verb)},
                   IsList(option),
                   IsSwitch(option)});
  }
  const auto section_of = [](const SettingInfo& info) {
    const size_t dot = info.key.find('.');
    return dot == std::string::npos ? std::string() : info.key.substr(0, dot);
  };
  std::vector<std::string> sections{""};
  for (const SettingInfo& info : all)
    if (std::find(sections.begin(), sections.end(), section_of(info)) == sections.end())
      sections.push_back(section_of(info));
  std::vector<SettingInfo> ordered;
  for (const std::string& section : sections)
    std::copy_if(all.begin(), all.end(), std::back_inserter(ordered),
                 [&](const SettingInfo& info) { return section_of(info) == section; });
  return ordered;
}

}  // namespace hadal
