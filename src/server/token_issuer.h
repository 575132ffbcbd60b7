// Makes tokens and records them: for the token endpoint and for the command line.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "server/keys.h"
#include "server/state_db.h"

namespace hadal {

struct TokenIssuerOptions {
  std::string issuer, audience;
  int64_t access_seconds = 900;  // 15 minutes
  int64_t refresh_seconds = int64_t{30} * 86400;
};

struct TokenGrant {
  std::string subject = {}, client = {}, scopes = {};
  std::string family = {};  // empty: a new one
  bool refresh = false;     // whether a refresh token comes with it
};

struct IssuedTokens {
  std::string access, refresh;  // refresh: empty if not asked for
  int64_t expires_in = 0;       // of the access token, seconds
  std::string id;               // jti of the access token
};

/// The name that tokens carry as iss unless `hadal serve` was told another.
inline constexpr const char* kDefaultIssuer = "https://hadal.internal";
inline constexpr const char* kDefaultAudience = "hadal";
/// What the server last ran with, so that the command line issues for it.
Result<TokenIssuerOptions> LoadIssuerOptions(StateDb& db);

/// Thread-safe if its parts are.
class TokenIssuer {
 public:
  TokenIssuer(TokenIssuerOptions options, SigningKeys& keys, StateDb& db)
      : options_(std::move(options)), keys_(keys), db_(db) {}

  const TokenIssuerOptions& options() const { return options_; }

  /// A signed and recorded access token, with a refresh token if asked for. `lifetime`: seconds, 0: the
  /// usual.
  Result<IssuedTokens> Issue(const TokenGrant& grant, int64_t now, int64_t lifetime = 0);
  /// The next tokens in the place of the refresh token `used`; nothing if it was used before: then all of its
  /// family are revoked.
  Result<std::optional<IssuedTokens>> Refresh(const std::string& used, const TokenGrant& grant, int64_t now);
  /// An API key "hk_..." (this is the only time that it can be seen). `expires`: seconds since 1970, 0:
  /// never.
  Result<std::string> IssueApiKey(const TokenGrant& grant, int64_t now, int64_t expires);

 private:
  struct Made {
    IssuedTokens tokens;
    std::vector<TokenRecord> records;
  };
  Result<Made> Make(const TokenGrant& grant, int64_t now, int64_t lifetime);

  const TokenIssuerOptions options_;
  SigningKeys& keys_;
  StateDb& db_;
};

}  // namespace hadal
