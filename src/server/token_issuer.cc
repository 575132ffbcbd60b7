#include "server/token_issuer.h"

#include "server/jwt.h"
#include "server/secrets.h"

namespace hadal {
namespace {

constexpr size_t kIdBytes = 16;

}  // namespace

Result<TokenIssuerOptions> LoadIssuerOptions(StateDb& db) {
  TokenIssuerOptions options;
  ASSIGN_OR_RETURN(options.issuer, db.Setting("issuer"));
  ASSIGN_OR_RETURN(options.audience, db.Setting("audience"));
  if (options.issuer.empty()) options.issuer = kDefaultIssuer;
  if (options.audience.empty()) options.audience = kDefaultAudience;
  return options;
}

Result<TokenIssuer::Made> TokenIssuer::Make(const TokenGrant& grant, int64_t now, int64_t lifetime) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const SigningKeyRing> ring, keys_.Current());
  Made made;
  made.tokens.id = RandomText(kIdBytes);
  made.tokens.expires_in = lifetime > 0 ? lifetime : options_.access_seconds;
  TokenRecord record{.id = made.tokens.id,
                     .kind = TokenKind::kAccess,
                     .hash = {},
                     .subject = grant.subject,
                     .client = grant.client,
                     .scopes = grant.scopes,
                     .family = grant.family.empty() ? RandomText(kIdBytes) : grant.family,
                     .issued = now,
                     .expires = now + made.tokens.expires_in};
  nlohmann::json claims = {{"iss", options_.issuer},
                           {"aud", options_.audience},
                           {"sub", grant.subject},
                           {"jti", record.id},
                           {"iat", now},
                           {"exp", record.expires},
                           {"scope", grant.scopes},
                           {"token_use", "access"}};
  if (!grant.client.empty()) claims["client_id"] = grant.client;
  ASSIGN_OR_RETURN(made.tokens.access, SignJwt(ring->signer, claims));
  made.records.push_back(record);
  if (grant.refresh) {
    const OpaqueToken refresh = NewOpaqueToken();
    made.tokens.refresh = refresh.Text(kRefreshPrefix);
    record.id = refresh.id;
    record.kind = TokenKind::kRefresh;
    record.hash = Sha256(refresh.secret);
    record.expires = now + options_.refresh_seconds;
    made.records.push_back(record);
  }
  return made;
}

Result<IssuedTokens> TokenIssuer::Issue(const TokenGrant& grant, int64_t now, int64_t lifetime) {
  ASSIGN_OR_RETURN(const Made made, Make(grant, now, lifetime));
  RETURN_IF_ERROR(db_.AddTokens(made.records));
  return made.tokens;
}

Result<std::optional<IssuedTokens>> TokenIssuer::Refresh(const std::string& used, const TokenGrant& grant,
                                                         int64_t now) {
  ASSIGN_OR_RETURN(const Made made, Make(grant, now, 0));
  ASSIGN_OR_RETURN(const bool replaced, db_.Replace(used, made.records, now));
  if (!replaced) return std::nullopt;
  return made.tokens;
}

Result<std::string> TokenIssuer::IssueApiKey(const TokenGrant& grant, int64_t now, int64_t expires) {
  const OpaqueToken key = NewOpaqueToken();
  RETURN_IF_ERROR(db_.AddTokens({{.id = key.id,
                                  .kind = TokenKind::kApiKey,
                                  .hash = Sha256(key.secret),
                                  .subject = grant.subject,
                                  .client = grant.client,
                                  .scopes = grant.scopes,
                                  .family = key.id,
                                  .issued = now,
                                  .expires = expires}}));
  return key.Text(kApiKeyPrefix);
}

}  // namespace hadal
