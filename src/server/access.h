// All of access control, opened together: what `hadal serve` needs of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "server/authorizer.h"
#include "server/denial_log.h"
#include "server/http_types.h"
#include "server/oauth.h"
#include "server/outside_issuer.h"
#include "server/quota.h"
#include "server/token_issuer.h"

namespace hadal {

/// Seconds since 1970.
int64_t UnixSeconds();

struct AccessOptions {
  Path state = {};
  std::string issuer = {};    // iss, and the base of the published addresses; empty: as last time
  std::string audience = {};  // aud; empty: as last time
  std::vector<OutsideIssuerOptions> outside = {};
  ThrottleOptions throttle = {};
  PasswordCost password_cost = {};
  std::function<int64_t()> now = UnixSeconds;
};

/// The state folder's records, keys and token issuer: enough for the command line.
struct AccessState {
  std::unique_ptr<StateDb> db;
  std::unique_ptr<SigningKeys> keys;
  std::unique_ptr<TokenIssuer> issuer;
};
/// Makes what is missing, the folder with mode 0700 too.
Result<AccessState> OpenAccessState(const Path& state);

/// The access control of a running server. Every part is thread-safe.
class Access {
 public:
  /// Makes what is missing in the state folder, and remembers issuer and audience there for the command line.
  static Result<std::unique_ptr<Access>> Open(AccessOptions options);

  Authorizer& authorizer() { return *authorizer_; }
  Quotas& quotas() { return *quotas_; }
  /// The token endpoint and what it publishes.
  std::vector<Route> Routes() { return oauth_->Routes(); }
  OAuthService& oauth() { return *oauth_; }
  StateDb& db() { return *state_.db; }
  /// What Prometheus reads of the outside issuers, in its text format; empty without any.
  std::string Exposition() const;

 private:
  Access() = default;

  // In order of making: each uses those before it.
  AccessState state_;
  std::unique_ptr<StateDb> check_db_, quota_db_, denial_db_;
  std::vector<std::unique_ptr<OutsideIssuer>> outside_;
  std::unique_ptr<DenialLog> denials_;
  std::unique_ptr<TokenAuthorizer> authorizer_;
  std::unique_ptr<Quotas> quotas_;
  std::unique_ptr<OAuthService> oauth_;
};

}  // namespace hadal
