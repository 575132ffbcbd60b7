#include "cli/settings_text.h"

#include <algorithm>

namespace hadal {
namespace {

constexpr size_t kWidth = 100;

std::string SectionOf(std::string_view key) {
  const size_t dot = key.find('.');
  return std::string(key.substr(0, dot == std::string_view::npos ? 0 : dot));
}

std::string NameOf(std::string_view key) { return std::string(key.substr(key.find('.') + 1)); }

/// `text` in comment lines of at most kWidth columns.
std::string Comment(std::string_view indent, std::string_view text) {
  std::string out, line;
  const size_t room = kWidth - indent.size() - 2;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    if (!line.empty() && line.size() + 1 + word.size() > room) {
      out += fmt::format("{}# {}\n", indent, line);
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
    begin = end + 1;
  }
  return out + fmt::format("{}# {}\n", indent, line);
}

/// What the example shows as a value.
std::string ExampleValue(const SettingInfo& info) {
  if (info.is_switch) return info.fallback.empty() ? "false" : info.fallback;
  if (info.is_list) return "[]";
  return info.fallback.empty() ? "" : YamlText(info.fallback);
}

std::string Sentence(const SettingInfo& info) {
  std::string text = info.text;
  if (!info.is_switch && !info.type.empty())
    text += fmt::format(" ({}{})", info.is_list ? "a list of " : "", info.type);
  return text;
}

std::string InCell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string YamlText(std::string_view text) {
  const auto safe = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("/._-+").find(c) != std::string_view::npos;
  };
  const auto inner = [&](char c) { return safe(c) || c == ':' || c == ' '; };
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static constexpr std::string_view kWords[] = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"};
  const bool word = std::find(std::begin(kWords), std::end(kWords), lower) != std::end(kWords);
  const bool plain = !text.empty() && !word && safe(text.front()) && safe(text.back()) &&
                     text.front() != '-' && std::all_of(text.begin(), text.end(), inner) &&
                     text.find(": ") == std::string_view::npos;
  if (plain) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + "\"";
}

std::string Masked(std::string_view value) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t scheme = value.find("://", at);
    if (scheme == std::string_view::npos) return out.append(value.substr(at));
    const size_t begin = scheme + 3;
    const size_t end = std::min(value.find_first_of("/?#, ", begin), value.size());
    const size_t mark = value.substr(begin, end - begin).rfind('@');
    out.append(value.substr(at, begin - at));
    if (mark != std::string_view::npos) out += "***";
    at = mark == std::string_view::npos ? begin : begin + mark;
  }
}

std::string Settings::Effective(const CLI::App& verb) const {
  std::vector<const Bound*> own;
  for (const SettingInfo& info : All())
    for (const Bound& setting : bound_)
      if (setting.verb == &verb && setting.key == info.key) own.push_back(&setting);
  std::string out = fmt::format("# configuration file: {}\n", used_file_.empty() ? "none" : used_file_);
  std::string section;
  for (const Bound* setting : own) {
    const CLI::Option& option = *setting->option;
    std::vector<std::string> words = option.results();
    if (words.empty() && !option.get_default_str().empty()) words = {option.get_default_str()};
    const bool is_switch = option.get_items_expected_max() == 0;
    if (words.empty() && is_switch) words = {"false"};
    if (!is_switch)
      for (std::string& word : words) word = YamlText(Masked(word));
    const std::string name = SectionOf(setting->key);
    if (name != section) out += name + ":\n";
    section = name;
    const bool list = option.get_items_expected_max() > 1;
    const std::string value = list            ? fmt::format("[{}]", fmt::join(words, ", "))
                              : words.empty() ? ""
                                              : words.back();
    const std::string line = fmt::format("{}{}{}: {}", name.empty() ? "" : "  ", value.empty() ? "# " : "",
                                         NameOf(setting->key), value);
    out += fmt::format("{:<40}  # {}\n", line, setting->origin);
  }
  return out;
}

std::string ExampleFile(const std::vector<SettingInfo>& settings) {
  std::string out =
      "# hadal.yaml: every key there is, with its default. Take the # away to change a value.\n"
      "# A flag goes before a variable (HADAL_ENGINE_THREADS), a variable before this file.\n"
      "# Secrets have no place here: keys name the files that hold them.\n";
  std::string section;
  for (const SettingInfo& info : settings) {
    const std::string name = SectionOf(info.key);
    if (name != section)
      out += fmt::format("\n{}:\n", name);
    else
      out += section.empty() ? "\n" : "";
    section = name;
    const std::string indent = name.empty() ? "" : "  ";
    out += Comment(indent, Sentence(info));
    out += fmt::format("{}#{}: {}", indent, NameOf(info.key), ExampleValue(info));
    if (out.ends_with(' ')) out.pop_back();
    out += '\n';
  }
  return out;
}

std::string SettingsTables(const std::vector<SettingInfo>& settings) {
  std::string out, section = "none";
  for (const SettingInfo& info : settings) {
    const std::string name = SectionOf(info.key);
    if (name != section) {
      out +=
          fmt::format("{}## {}\n\n| key | flag | default | what it is | read by |\n|---|---|---|---|---|\n",
                      section == "none" ? "" : "\n", name.empty() ? "At the top" : name);
      section = name;
    }
    const std::string fallback = info.is_list ? "[]" : ExampleValue(info);
    out += fmt::format("| `{}` | `{}` | {} | {} | {} |\n", info.key, info.flag,
                       fallback.empty() ? "" : "`" + InCell(fallback) + "`", InCell(Sentence(info)),
                       fmt::join(info.verbs, ", "));
  }
  return out;
}

}  // namespace hadal
