#include "cli/help_formatter.h"

#include <algorithm>

namespace hadal {
namespace {

constexpr size_t kTextColumn = 34;

/// `name` at the left, `text` beside it, or below where the name is long, wrapped at words.
std::string TwoColumns(const std::string& name, const std::string& text) {
  std::string out = "  " + name, line;
  if (text.empty()) return out + "\n";
  if (out.size() + 2 > kTextColumn) out += "\n" + std::string(kTextColumn, ' ');
  else out.resize(kTextColumn, ' ');
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!line.empty() && kTextColumn + line.size() + 1 + word.size() > kHelpWidth) {
      out += line + "\n" + std::string(kTextColumn, ' ');
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
    begin = end + 1;
  }
  return out + line + "\n";
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
  if (is_positional) name = option->get_name(true, false);
  for (size_t at = 0; (at = name.find(',', at)) != std::string::npos; at += 2) name.replace(at, 1, ", ");
  const bool takes_value = option->get_items_expected_max() > 0;
  if (takes_value && !is_positional && !option->get_type_name().empty()) name += " " + option->get_type_name();
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

std::string HelpFormatter::make_description(const CLI::App* app) const { return app->get_description() + "\n"; }

std::string HelpFormatter::make_footer(const CLI::App* app) const {
  std::string footer = app->get_footer();
  if (!footer.empty()) footer += "\n";
  if (!HasSettings(app, settings_.get())) return footer;
  return footer +
         "\nWords such as engine.threads are keys of hadal.yaml; HADAL_ENGINE_THREADS is that key's variable. A flag\n"
         "goes before a variable, a variable before the file. 'hadal config keys' lists all.\n";
}

}  // namespace hadal
