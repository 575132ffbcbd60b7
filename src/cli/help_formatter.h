// The pages of --help: two columns, no line beyond kHelpWidth, each setting with its key in hadal.yaml.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/settings.h"

namespace hadal {

inline constexpr size_t kHelpWidth = 100;

class HelpFormatter final : public CLI::Formatter {
 public:
  /// Whose keys are shown; verbs are added to an app before their settings can be collected.
  void set_settings(std::shared_ptr<const Settings> settings) { settings_ = std::move(settings); }

  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* verb) const override;
  std::string make_footer(const CLI::App* app) const override;
  std::string make_description(const CLI::App* app) const override;

 private:
  std::shared_ptr<const Settings> settings_;
};

}  // namespace hadal
