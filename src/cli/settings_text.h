// Settings as text: the file that says what a verb runs with, the example with every key, the table of the
// manual.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/settings.h"

namespace hadal {

/// `text` as a YAML value: in quotes where it would be read as something else.
std::string YamlText(std::string_view text);

/// The value without what stands before an @ in an address: a user's name and password.
std::string Masked(std::string_view value);

/// A hadal.yaml with every key, its explanation and its default, all in comments.
std::string ExampleFile(const std::vector<SettingInfo>& settings);

/// A table in Markdown for each section: key, flag, default, what it is, which verbs read it.
std::string SettingsTables(const std::vector<SettingInfo>& settings);

}  // namespace hadal
