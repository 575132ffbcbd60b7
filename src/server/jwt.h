// JSON Web Tokens (RFC 7519) in compact form (RFC 7515), after the advice of RFC 8725: parsed strictly,
// verified with a key that names its one algorithm, and only then believed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/jwk.h"

namespace hadal {

/// Limits before anything is decoded.
inline constexpr size_t kMaxJwtBytes = 8192;
inline constexpr size_t kMaxJwtHeaderBytes = 1024;

/// A token taken apart. Nothing in it may be believed before VerifySignature has said yes.
struct ParsedJwt {
  JwsAlgorithm algorithm = JwsAlgorithm::kEs256;
  std::string kid, type;  // type: "typ", empty if missing
  nlohmann::json claims;
  std::string signed_text, signature;
};

/// kInvalidArgument unless the text is three strict base64url parts of JSON objects without repeated members,
/// whose header names a supported algorithm and a kid, and carries no key of its own (jwk, jku, x5u, x5c), no
/// crit, b64, zip or enc. The sentences hold nothing of the token.
Result<ParsedJwt> ParseJwt(std::string_view token);

/// Whether `signature` (raw: r | s of 32 bytes each for ES256) is one of `text` by `key`.
bool VerifySignature(const VerifyKey& key, std::string_view text, std::string_view signature);

/// What a token must say.
struct JwtRules {
  std::string issuer, audience;
  std::vector<std::string>
      types;        // allowed values of typ, in lower case and compared so; "" allows it to be missing
  bool own = true;  // issued here: jti, iat and token_use "access" are required, RSA is refused
};
/// Clocks differ: nbf and iat may be this far in the future (seconds).
inline constexpr int64_t kJwtLeewaySeconds = 60;

/// kPermissionDenied unless the claims are in order at `now` (seconds since 1970): exp in the future, nbf and
/// iat not, iss and aud as `rules` say, sub present, and no mark of an ID or refresh token.
Status CheckClaims(const ParsedJwt& jwt, const JwtRules& rules, int64_t now);

/// A private key that signs tokens.
struct SigningKey {
  std::string kid;
  JwsAlgorithm algorithm = JwsAlgorithm::kEs256;
  std::shared_ptr<EVP_PKEY> key;
};

/// The compact form with typ "at+jwt" (RFC 9068). kInternal if OpenSSL cannot sign.
Result<std::string> SignJwt(const SigningKey& key, const nlohmann::json& claims);

}  // namespace hadal
