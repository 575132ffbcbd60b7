#include "server/jwk.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <sodium.h>

#include <array>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "server/base64url.h"
#include "server/openssl_ptr.h"
#include "server/secrets.h"
#include "server/strict_json.h"

namespace hadal {
namespace {

using nlohmann::json;

constexpr size_t kCoordinateBytes = 32;
constexpr size_t kMaxKidLetters = 256;
constexpr int kMinRsaBits = 2048;
constexpr int kMaxRsaBits = 8192;  // a larger key makes every verification slow
constexpr unsigned long kMinRsaExponent = 65537;

/// The string member `name`, or nothing.
const std::string* Text(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

std::optional<std::string> Bytes(const json& object, const char* name) {
  const std::string* text = Text(object, name);
  return text == nullptr ? std::nullopt : Base64UrlDecode(*text);
}

/// A public key of the parameters in `builder`; null if OpenSSL does not take them, or finds them
/// inconsistent.
PkeyPtr PublicKeyFrom(const char* type, OSSL_PARAM_BLD* builder) {
  const ParamsPtr params(OSSL_PARAM_BLD_to_param(builder));
  const PkeyContextPtr context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* raw = nullptr;
  const bool made = params && context && EVP_PKEY_fromdata_init(context.get()) == 1 &&
                    EVP_PKEY_fromdata(context.get(), &raw, EVP_PKEY_PUBLIC_KEY, params.get()) == 1;
  PkeyPtr key(raw);
  if (made) {
    const PkeyContextPtr check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
    if (check && EVP_PKEY_public_check(check.get()) == 1) return key;
  }
  ERR_clear_error();
  return nullptr;
}

Result<PkeyPtr> EcKey(const json& jwk) {
  const auto x = Bytes(jwk, "x"), y = Bytes(jwk, "y");
  if (!x || !y || x->size() != kCoordinateBytes || y->size() != kCoordinateBytes)
    return DataLoss("x and y must be 32 bytes in base64url");
  const std::string point = "\x04" + *x + *y;
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  PkeyPtr key = PublicKeyFrom("EC", builder.get());
  if (!key) return DataLoss("its point is not on P-256");
  return key;
}

Result<PkeyPtr> Ed25519Key(const json& jwk) {
  const auto x = Bytes(jwk, "x");
  if (!x || x->size() != crypto_core_ed25519_BYTES) return DataLoss("x must be 32 bytes in base64url");
  const auto* point = reinterpret_cast<const unsigned char*>(x->data());
  // Small-order points would let one signature fit many messages; this call knows them, OpenSSL does not.
  if (crypto_core_ed25519_is_valid_point(point) != 1)
    return DataLoss("its point is not a safe one of Ed25519");
  PkeyPtr key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, point, x->size()));
  if (!key) return DataLoss("OpenSSL does not take its point");
  return key;
}

Result<PkeyPtr> RsaKey(const json& jwk) {
  const auto n = Bytes(jwk, "n"), e = Bytes(jwk, "e");
  if (!n || !e || n->size() > kMaxRsaBits / 8 || e->size() > sizeof(uint64_t))
    return DataLoss("n and e must be numbers in base64url, n of at most {} bits", kMaxRsaBits);
  const auto number = [](const std::string& bytes) {
    return BigNumPtr(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                               static_cast<int>(bytes.size()), nullptr));
  };
  const BigNumPtr modulus = number(*n), exponent = number(*e);
  if (BN_num_bits(modulus.get()) < kMinRsaBits || !BN_is_odd(modulus.get()))
    return DataLoss("its RSA modulus has {} bits; at least {} are asked for", BN_num_bits(modulus.get()),
                    kMinRsaBits);
  if (BN_get_word(exponent.get()) < kMinRsaExponent || !BN_is_odd(exponent.get()))
    return DataLoss("its RSA exponent is below {}, or even", kMinRsaExponent);
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get());
  PkeyPtr key = PublicKeyFrom("RSA", builder.get());
  if (!key) return DataLoss("OpenSSL does not take its modulus");
  return key;
}

/// The algorithm that kty and crv call for; nothing for kinds of key that are not verified with here.
std::optional<JwsAlgorithm> AlgorithmOf(const json& jwk) {
  const std::string* kty = Text(jwk, "kty");
  const std::string* crv = Text(jwk, "crv");
  if (kty == nullptr) return std::nullopt;
  if (*kty == "RSA") return JwsAlgorithm::kRs256;
  if (crv == nullptr) return std::nullopt;
  if (*kty == "EC" && *crv == "P-256") return JwsAlgorithm::kEs256;
  if (*kty == "OKP" && *crv == "Ed25519") return JwsAlgorithm::kEdDsa;
  return std::nullopt;
}

/// Whether use and key_ops, where given, allow the key to verify.
bool MayVerify(const json& jwk) {
  if (jwk.contains("use") && jwk["use"] != "sig") return false;
  const auto operations = jwk.find("key_ops");
  if (operations == jwk.end()) return true;
  if (!operations->is_array()) return false;
  for (const json& operation : *operations)
    if (operation == "verify") return true;
  return false;
}

/// The key of one JWK; null where it is for something else.
Result<std::optional<VerifyKey>> ParseJwk(const json& jwk) {
  const std::string* kid = Text(jwk, "kid");
  if (kid == nullptr || kid->empty() || kid->size() > kMaxKidLetters) return std::nullopt;
  for (const char* member : {"d", "p", "q", "dp", "dq", "qi", "oth"})
    if (jwk.contains(member)) return DataLoss("it holds a private key; a JWK set has public ones only");
  if (!MayVerify(jwk)) return std::nullopt;
  std::optional<JwsAlgorithm> algorithm = AlgorithmOf(jwk);
  if (const std::string* alg = Text(jwk, "alg")) {
    const std::optional<JwsAlgorithm> named = JwsByName(*alg);
    if (!named) return std::nullopt;
    // The one key type of two algorithms: its alg chooses.
    if (named == JwsAlgorithm::kPs256 && algorithm == JwsAlgorithm::kRs256) algorithm = named;
    if (named != algorithm)
      return DataLoss("its alg is {}, which does not fit its kty and crv", JwsName(*named));
  }
  if (!algorithm) return std::nullopt;
  Result<PkeyPtr> key = *algorithm == JwsAlgorithm::kEs256   ? EcKey(jwk)
                        : *algorithm == JwsAlgorithm::kEdDsa ? Ed25519Key(jwk)
                                                             : RsaKey(jwk);
  if (!key) return tl::unexpected(key.error());
  return VerifyKey{*kid, *algorithm, std::shared_ptr<EVP_PKEY>(std::move(*key))};
}

/// A kid as a sentence may show it.
std::string KidText(const json& jwk) {
  const std::string* kid = jwk.is_object() ? Text(jwk, "kid") : nullptr;
  if (kid == nullptr) return "without kid";
  std::string shown;
  for (const char c : kid->substr(0, 64)) shown += c > ' ' && c < 127 ? c : '?';
  return "'" + shown + "'";
}

}  // namespace

const char* JwsName(JwsAlgorithm algorithm) {
  switch (algorithm) {
    case JwsAlgorithm::kEs256:
      return "ES256";
    case JwsAlgorithm::kEdDsa:
      return "EdDSA";
    case JwsAlgorithm::kRs256:
      return "RS256";
    case JwsAlgorithm::kPs256:
      return "PS256";
  }
  return "";
}

std::optional<JwsAlgorithm> JwsByName(std::string_view name) {
  for (const auto algorithm :
       {JwsAlgorithm::kEs256, JwsAlgorithm::kEdDsa, JwsAlgorithm::kRs256, JwsAlgorithm::kPs256})
    if (name == JwsName(algorithm)) return algorithm;
  return std::nullopt;
}

const VerifyKey* KeySet::Find(std::string_view kid) const {
  const auto found = keys_.find(kid);
  return found == keys_.end() ? nullptr : &found->second;
}

bool KeySet::Add(VerifyKey key) {
  std::string kid = key.kid;
  return keys_.emplace(std::move(kid), std::move(key)).second;
}

Result<KeySet> ParseJwkSet(std::string_view text) {
  if (text.size() > kMaxJwkSetBytes)
    return ResourceExhausted("the JWK set has {} bytes; at most {} are read", text.size(), kMaxJwkSetBytes);
  ASSIGN_OR_RETURN(const json set, ParseStrictObject(text));
  const auto keys = set.find("keys");
  if (keys == set.end() || !keys->is_array()) return DataLoss("the JWK set has no array 'keys'");
  if (keys->size() > kMaxJwkSetKeys)
    return DataLoss("the JWK set holds {} keys; at most {} are taken", keys->size(), kMaxJwkSetKeys);
  KeySet parsed;
  for (const json& jwk : *keys) {
    if (!jwk.is_object()) return DataLoss("the JWK set holds a key that is not an object");
    Result<std::optional<VerifyKey>> key = ParseJwk(jwk);
    if (!key) return DataLoss("the key {} of the JWK set: {}", KidText(jwk), key.error().message);
    if (*key && !parsed.Add(std::move(**key)))
      return DataLoss("the JWK set holds the kid {} twice", KidText(jwk));
  }
  if (parsed.size() == 0)
    return DataLoss("the JWK set has no key that verifies ES256, EdDSA, RS256 or PS256 signatures and has a kid");
  return parsed;
}

json PublicJwk(EVP_PKEY* key, JwsAlgorithm algorithm) {
  json jwk;
  std::array<unsigned char, 65> point;  // 04 | x | y, or the 32 bytes of Ed25519
  size_t size = point.size();
  if (algorithm == JwsAlgorithm::kEdDsa) {
    HADAL_CHECK(EVP_PKEY_get_raw_public_key(key, point.data(), &size) == 1);
    jwk = {{"crv", "Ed25519"}, {"kty", "OKP"}};
  } else {
    HADAL_CHECK(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size(),
                                                &size) == 1);
    HADAL_CHECK(size == 65 && point[0] == 4, "a point of {} bytes", size);
    jwk = {{"crv", "P-256"}, {"kty", "EC"}};
    jwk["y"] = Base64UrlEncode({reinterpret_cast<const char*>(point.data()) + 33, 32});
  }
  const size_t x = algorithm == JwsAlgorithm::kEdDsa ? 0 : 1;
  jwk["x"] = Base64UrlEncode({reinterpret_cast<const char*>(point.data()) + x, 32});
  // RFC 7638: the required members in the order of their names, which is how this library writes them.
  jwk["kid"] = Base64UrlEncode(Sha256(jwk.dump()));
  jwk["alg"] = JwsName(algorithm);
  jwk["use"] = "sig";
  return jwk;
}

std::string JwkThumbprint(EVP_PKEY* key, JwsAlgorithm algorithm) { return PublicJwk(key, algorithm)["kid"]; }

}  // namespace hadal
