#include "server/http_router.h"

#include <algorithm>
#include <array>
#include <set>

#include "server/http_parser.h"

namespace hadal {
namespace {

constexpr std::array<std::string_view, 9> kKnownMethods = {"GET",   "HEAD",    "POST",    "PUT",  "DELETE",
                                                           "PATCH", "OPTIONS", "CONNECT", "TRACE"};

std::string JoinMethods(const std::set<std::string>& methods) {
  std::string text;
  for (const auto& method : methods) text += (text.empty() ? "" : ", ") + method;
  return text;
}

bool LoopbackAddress(std::string_view address) { return address.starts_with("127.") || address == "::1"; }

/// An address as a Host header writes it.
std::string Bracketed(std::string_view address) {
  if (address.find(':') == std::string_view::npos) return std::string(address);
  return "[" + std::string(address) + "]";
}

}  // namespace

Result<Router> Router::Make(std::vector<Route> routes) {
  Router router;
  std::set<std::string> every = {"OPTIONS"};
  for (Route& route : routes) {
    if (!route.handler) return InvalidArgument("route {} {} has no handler", route.method, route.path);
    if (!route.path.starts_with('/') || route.path.find_first_of("?# ") != std::string::npos) {
      return InvalidArgument("route path '{}' must begin with '/' and hold no query", route.path);
    }
    const bool known =
        std::find(kKnownMethods.begin(), kKnownMethods.end(), route.method) != kKnownMethods.end();
    if (!known || route.method == "CONNECT" || route.method == "TRACE") {
      return InvalidArgument("route {} has method '{}', which the server does not serve", route.path,
                             route.method);
    }
    every.insert(route.method);
    if (route.method == "GET") every.insert("HEAD");
    auto& methods = router.paths_[route.path];
    std::string method = route.method, path = route.path;
    if (!methods.emplace(method, std::move(route)).second) {
      return InvalidArgument("route {} {} is there twice", method, path);
    }
  }
  router.every_method_ = JoinMethods(every);
  return router;
}

Router::Match Router::Find(std::string_view method, const std::string& target) const {
  if (std::find(kKnownMethods.begin(), kKnownMethods.end(), method) == kKnownMethods.end())
    return {nullptr, 501, ""};
  if (target == "*") return {nullptr, 204, every_method_};
  if (method == "CONNECT" || method == "TRACE") return {nullptr, 405, every_method_};
  const auto path = paths_.find(target);
  if (path == paths_.end()) return {nullptr, 404, ""};
  const auto& methods = path->second;
  auto route = methods.find(method);
  if (route == methods.end() && method == "HEAD") route = methods.find("GET");
  if (route != methods.end()) return {&route->second, 0, ""};
  std::set<std::string> allowed;
  for (const auto& [name, unused] : methods) allowed.insert(name);
  if (allowed.contains("GET")) allowed.insert("HEAD");
  return {nullptr, 405, JoinMethods(allowed)};
}

bool Router::AllPublic() const {
  for (const auto& [path, methods] : paths_) {
    for (const auto& [method, route] : methods) {
      if (route.scope != kPublicScope) return false;
    }
  }
  return true;
}

HostRule::HostRule(std::vector<std::string> allowed, bool loopback_listener)
    : any_(allowed.empty() && !loopback_listener) {
  for (const auto& name : allowed) allowed_.push_back(HostName(name));
}

bool HostRule::Allows(std::string_view host, std::string_view local_address,
                      std::string_view server_name) const {
  if (host.empty()) return true;
  if (!server_name.empty() && HostName(server_name) != host) return false;
  if (any_ || host == Bracketed(local_address)) return true;
  if (LoopbackAddress(local_address) && (host == "localhost" || host == "127.0.0.1" || host == "[::1]"))
    return true;
  return std::find(allowed_.begin(), allowed_.end(), host) != allowed_.end();
}

}  // namespace hadal
