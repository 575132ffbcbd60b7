#include "cli/help_formatter.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace hadal {
namespace {

constexpr size_t kTextColumn = 34;

/// `text` in lines of at most `width` bytes, broken at spaces and newlines; longer words stand alone.
std::vector<std::string> Wrapped(std::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    std::string& line = lines.back();
    if (!line.empty() && line.size() + 1 + word.size() > width) {
      lines.emplace_back(word);
    } else {
      if (!line.empty()) line += ' ';
      line += word;
    }
    begin = end + 1;
  }
  return lines;
}

/// `name` at the left, `text` beside it, or below where the name is long.
std::string TwoColumns(const std::string& name, const std::string& text) {
  std::string out = "  " + name;
  if (text.empty()) return out + "\n";
  const std::string indent(kTextColumn, ' ');
  if (out.size() + 2 > kTextColumn)
    out += "\n" + indent;
  else
    out.resize(kTextColumn, ' ');
  return out + fmt::format("{}\n", fmt::join(Wrapped(text, kHelpWidth - kTextColumn), "\n" + indent));
}

/// `text` with its paragraphs of prose wrapped; those with an indented line (examples, tables) stay as they
/// are.
std::string Prose(std::string_view text) {
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("\n\n", begin), text.size());
    const std::string_view paragraph = text.substr(begin, end - begin);
    if (paragraph.find("\n ") != std::string_view::npos || paragraph.starts_with(' '))
      out += paragraph;
    else
      out += fmt::format("{}", fmt::join(Wrapped(paragraph, kHelpWidth), "\n"));
    out += end == text.size() ? "\n" : "\n\n";
    begin = std::min(end + 2, text.size());
  }
  return out;
}

bool HasSettings(const CLI::App* app, const Settings* settings) {
  if (settings == nullptr) return false;
  const std::vector<const CLI::Option*> options = app->get_options([](const CLI::Option*) { return true; });
  return std::any_of(options.begin(), options.end(),
                     [&](const CLI::Option* option) { return !settings->KeyOf(option).empty(); });
}

}  // namespace

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  std::string name = option->get_name(is_positional, !is_positional);
  for (size_t at; (at = name.find("{false}")) != std::string::npos;) name.erase(at, 7);  // of --no-NAME
  for (size_t at = 0; (at = name.find(',', at)) != std::string::npos; at += 2) name.replace(at, 1, ", ");
  const bool takes_value = option->get_items_expected_max() > 0;
  if (takes_value && !is_positional && !option->get_type_name().empty())
    name += " " + option->get_type_name();
  std::vector<std::string> remarks;
  if (option->get_required()) remarks.push_back("required");
  if (!option->get_default_str().empty() && option->get_default_str() != "[]")
    remarks.push_back("default " + option->get_default_str());
  if (settings_ != nullptr)
    if (const std::string_view key = settings_->KeyOf(option); !key.empty()) remarks.emplace_back(key);
  std::string text = option->get_description();
  if (!remarks.empty()) text += fmt::format(" ({})", fmt::join(remarks, "; "));
  return TwoColumns(name, text);
}

std::string HelpFormatter::make_subcommand(const CLI::App* verb) const {
  return TwoColumns(verb->get_name(), verb->get_description());
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return app->get_description() + "\n";
}

std::string HelpFormatter::make_footer(const CLI::App* app) const {
  const std::string footer = Prose(app->get_footer());
  if (!HasSettings(app, settings_.get())) return footer;
  return footer +
         "\nWords such as engine.threads are keys of hadal.yaml; HADAL_ENGINE_THREADS is that key's "
         "variable.\n"
         "A flag goes before a variable, a variable before the file. 'hadal config keys' lists all.\n";
}

}  // namespace hadal
