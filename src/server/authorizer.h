// The Authorizer of `hadal serve`: access tokens of this server and of outside issuers, and API keys.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/auth_types.h"
#include "server/jwt.h"
#include "server/keys.h"
#include "server/outside_issuer.h"
#include "server/state_db.h"

namespace hadal {

struct AuthorizerOptions {
  std::string issuer, audience;
  std::function<int64_t()> now;  // seconds since 1970
  /// Told of every denial, from server threads: must be quick. `subject` as DenialLog::Note takes it.
  std::function<void(const HttpRequest&, const Authorizer::Denial&, const std::string& subject)> on_denied =
      {};
};

/// Credentials are taken from one place: "Authorization: Bearer" with a JWT or API key, or "X-Api-Key" with
/// an API key. More than one, or a token in the query, is 400 invalid_request.
class TokenAuthorizer : public Authorizer {
 public:
  /// The parts must outlive it; `outside` has one of each name. `db`: its own connection, so that no check
  /// waits until another's record is on the disk.
  TokenAuthorizer(AuthorizerOptions options, SigningKeys& keys, StateDb& db,
                  std::vector<OutsideIssuer*> outside)
      : options_(std::move(options)), keys_(keys), db_(db), outside_(std::move(outside)) {}

  tl::expected<Identity, Denial> Check(const HttpRequest& request, std::string_view scope) override;

 private:
  /// `subject`: out, where the credentials are good and their scopes too few.
  tl::expected<Identity, Denial> CheckCredentials(const HttpRequest& request, std::string_view scope,
                                                  std::string& subject);
  Result<Identity> CheckToken(std::string_view token);
  Result<Identity> CheckOwn(const ParsedJwt& jwt);
  Result<Identity> CheckOutside(const ParsedJwt& jwt, OutsideIssuer& outside);
  Result<Identity> CheckApiKey(std::string_view key);

  const AuthorizerOptions options_;
  SigningKeys& keys_;
  StateDb& db_;
  const std::vector<OutsideIssuer*> outside_;
};

}  // namespace hadal
