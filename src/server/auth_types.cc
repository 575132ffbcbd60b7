#include "server/auth_types.h"

#include <algorithm>

namespace hadal {
namespace {

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool MayStandInName(char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '@' || c == '-'; }

}  // namespace

Result<std::vector<std::string>> ParseScopes(std::string_view text) {
  std::vector<std::string> scopes;
  while (true) {
    const std::string_view name = text.substr(0, text.find(' '));
    if (std::find(std::begin(kScopes), std::end(kScopes), name) == std::end(kScopes)) {
      return InvalidArgument("there is no such scope; a list of scopes holds {}, with single spaces between",
                             fmt::join(kScopes, ", "));
    }
    if (!HasScope(scopes, name)) scopes.emplace_back(name);
    if (name.size() == text.size()) return scopes;
    text.remove_prefix(name.size() + 1);
  }
}

std::string JoinScopes(const std::vector<std::string>& scopes) {
  return fmt::format("{}", fmt::join(scopes, " "));
}

bool HasScope(const std::vector<std::string>& scopes, std::string_view scope) {
  return std::find(scopes.begin(), scopes.end(), scope) != scopes.end();
}

Status CheckAccountName(std::string_view name) {
  const bool good = !name.empty() && name.size() <= 64 && IsLetterOrDigit(name[0]) &&
                    std::all_of(name.begin(), name.end(), MayStandInName);
  if (good) return {};
  return InvalidArgument(
      "a name has 1 to 64 letters, digits and any of . _ @ -, and begins with a letter or digit");
}

}  // namespace hadal
