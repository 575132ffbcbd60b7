// Public keys that sign tokens, and their JSON form (RFC 7517, RFC 8037).
#pragma once

#include <openssl/types.h>

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hadal {

/// The only signature algorithms there are here. There is none with a shared secret, so that a public key can
/// never be taken for one.
enum class JwsAlgorithm { kEs256, kEdDsa, kRs256, kPs256 };
const char* JwsName(JwsAlgorithm algorithm);
/// By exact name.
std::optional<JwsAlgorithm> JwsByName(std::string_view name);

/// A public key and the one algorithm that it verifies.
struct VerifyKey {
  std::string kid;
  JwsAlgorithm algorithm = JwsAlgorithm::kEs256;
  std::shared_ptr<EVP_PKEY> key;
};

/// Keys by kid: a look-up in memory, whatever the kid says.
class KeySet {
 public:
  const VerifyKey* Find(std::string_view kid) const;
  /// False if there is a key of that kid.
  bool Add(VerifyKey key);
  size_t size() const { return keys_.size(); }
  const std::map<std::string, VerifyKey, std::less<>>& keys() const { return keys_; }

 private:
  std::map<std::string, VerifyKey, std::less<>> keys_;
};

inline constexpr size_t kMaxJwkSetBytes = 1 << 20;
inline constexpr size_t kMaxJwkSetKeys = 128;  // checking a large RSA key takes milliseconds

/// A JWK set of an outside issuer. Keys for other uses (use, key_ops, alg, kty that are not ours, no kid) are left
/// out; an RSA key without alg verifies RS256 alone. kDataLoss with the kid for a set that must not be trusted: a kid twice, RSA below 2048
/// bits or with e < 65537, algorithm and key that do not fit, a point off its curve, a private key, more than
/// kMaxJwkSetKeys; and where no key is left.
Result<KeySet> ParseJwkSet(std::string_view text);

/// The public key as JWK with kid (its RFC 7638 thumbprint), alg and use. `key` is P-256 or Ed25519.
nlohmann::json PublicJwk(EVP_PKEY* key, JwsAlgorithm algorithm);
std::string JwkThumbprint(EVP_PKEY* key, JwsAlgorithm algorithm);

}  // namespace hadal
