// The scopes that tokens hold and routes ask for (Identity and Authorizer are in http_types.h), and how lists
// of them are written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/http_types.h"

namespace hadal {

/// None implies another.
inline constexpr std::string_view kScopeInfer = "infer";      // generate, tokenize, list models
inline constexpr std::string_view kScopeMetrics = "metrics";  // read /metrics
inline constexpr std::string_view kScopeAdmin = "admin";      // change the service
inline constexpr std::string_view kScopes[] = {kScopeInfer, kScopeMetrics, kScopeAdmin};

/// "infer metrics" as a list, without repetitions; kInvalidArgument names a scope that does not exist, and
/// refuses anything but single spaces between the names (RFC 6749, section 3.3).
Result<std::vector<std::string>> ParseScopes(std::string_view text);
/// The list with spaces between.
std::string JoinScopes(const std::vector<std::string>& scopes);
bool HasScope(const std::vector<std::string>& scopes, std::string_view scope);

/// Names of users and clients: 1 to 64 letters, digits and any of . _ @ -, the first a letter or digit.
Status CheckAccountName(std::string_view name);

}  // namespace hadal
