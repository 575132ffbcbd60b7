// Which route a request takes, and which hosts the service answers for. Pure: no sockets, no threads.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "server/http_types.h"

namespace hadal {

class Router {
 public:
  /// kInvalidArgument for a route without a handler, with a path that cannot match, or that is there twice.
  static Result<Router> Make(std::vector<Route> routes);

  struct Match {
    const Route* route = nullptr;  // null: answer `status`
    int status = 0;                // 404, 405, 501, or 204 for OPTIONS *
    std::string allow;             // with 405 and 204: the methods that would do
  };
  /// `target`: a path, or "*". An unknown method is 501 wherever it points; a known one that no resource
  /// takes, 405.
  Match Find(std::string_view method, const std::string& target) const;

  bool AllPublic() const;

 private:
  std::unordered_map<std::string, std::map<std::string, Route, std::less<>>>
      paths_;                 // path -> method -> route
  std::string every_method_;  // Allow of OPTIONS *
};

/// The Host rule, see ServerOptions::allowed_hosts and README.md.
class HostRule {
 public:
  HostRule(std::vector<std::string> allowed, bool loopback_listener);

  /// `host`: HostName() of the request, "" only in HTTP/1.0 (allowed: browsers never leave it out).
  /// `local_address`: numeric address that the connection came in on. `server_name`: SNI, "" without one;
  /// where a client sent both, they must agree.
  bool Allows(std::string_view host, std::string_view local_address, std::string_view server_name) const;

 private:
  std::vector<std::string> allowed_;
  bool any_;
};

}  // namespace hadal
