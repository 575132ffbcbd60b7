#include "cli/flags.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace hadal {
namespace {

constexpr size_t kMaxIdFileBytes = size_t{64} << 20;

bool Separates(char c) { return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// The text between the brackets of a JSON list, or all of it.
std::string_view WithoutBrackets(std::string_view text) {
  while (!text.empty() && Separates(text.front())) text.remove_prefix(1);
  while (!text.empty() && Separates(text.back())) text.remove_suffix(1);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') return text.substr(1, text.size() - 2);
  return text;
}

}  // namespace

CLI::Option* AddChoice(CLI::App& verb, const char* name, std::string& value,
                       std::initializer_list<const char*> choices, const char* text) {
  const std::vector<std::string> list(choices.begin(), choices.end());
  const auto check = [list](const std::string& given) {
    if (std::find(list.begin(), list.end(), given) != list.end()) return std::string();
    return fmt::format("'{}' is not one of {}", given.substr(0, 64), fmt::join(list, ", "));
  };
  return verb.add_option(name, value, text)
      ->check(CLI::Validator(check, ""))
      ->type_name(fmt::format("{}", fmt::join(list, "|")))
      ->capture_default_str();
}

CLI::Validator NumberWithin(double least, double most) {
  return CLI::Validator(
      [least, most](const std::string& given) {
        double value = 0;
        const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
        if (error == std::errc() && end == given.data() + given.size() && value >= least && value <= most)
          return std::string();
        return fmt::format("'{}' is not a number from {} to {}", given.substr(0, 64), least, most);
      },
      "");
}

CLI::Validator IntegerWithin(int64_t least, int64_t most) {
  return CLI::Validator(
      [least, most](const std::string& given) {
        int64_t value = 0;
        const char* end = given.data() + given.size();
        const auto [stop, error] = std::from_chars(given.data(), end, value);
        if (error == std::errc() && stop == end && value >= least && value <= most) return std::string();
        return fmt::format("'{}' is not a number from {} to {}{}", given.substr(0, 64), least, most,
                           given.find('.') == std::string::npos ? "" : " without a fraction");
      },
      "");
}

Result<std::vector<int32_t>> ParseIds(const std::string& text) {
  std::string content = text;
  if (text.starts_with('@')) {
    ASSIGN_OR_RETURN(content, ReadFile(text.substr(1), kMaxIdFileBytes, FileKind::kAny));
  }
  const std::string_view list = WithoutBrackets(content);
  std::vector<int32_t> ids;
  for (size_t begin = 0; begin < list.size();) {
    if (Separates(list[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < list.size() && !Separates(list[end])) ++end;
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(list.data() + begin, list.data() + end, id);
    if (error != std::errc() || stop != list.data() + end)
      return InvalidArgument("'{}' is no token id; ids are numbers such as in --ids 1,2,3",
                             list.substr(begin, std::min<size_t>(end - begin, 64)));
    ids.push_back(id);
    begin = end;
  }
  if (ids.empty()) return InvalidArgument("there are no token ids in '{}'", text.substr(0, 64));
  return ids;
}

}  // namespace hadal
