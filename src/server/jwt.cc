#include "server/jwt.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "server/base64url.h"
#include "server/openssl_ptr.h"
#include "server/strict_json.h"

namespace hadal {
namespace {

using nlohmann::json;

constexpr size_t kSignatureBytes = 64;  // ES256 and Ed25519
constexpr size_t kNumberBytes = 32;     // r or s
constexpr size_t kMaxKidLetters = 256;
constexpr double kLastSecond = 253402300799;  // the end of the year 9999

/// The order of P-256's group (FIPS 186-4, D.1.2.3).
constexpr std::array<unsigned char, kNumberBytes> kP256Order = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};

const std::string* Text(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

/// The parts between the dots; false unless there are exactly three.
bool Split(std::string_view token, std::array<std::string_view, 3>& parts) {
  if (std::count(token.begin(), token.end(), '.') != 2) return false;
  const size_t first = token.find('.'), second = token.rfind('.');
  parts = {token.substr(0, first), token.substr(first + 1, second - first - 1), token.substr(second + 1)};
  return true;
}

bool IsKidLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-_.:=+/@").find(c) != std::string_view::npos;
}

/// Fills algorithm, kid and type from the decoded first part.
Status ReadHeader(std::string_view text, ParsedJwt& jwt) {
  const Result<json> header = ParseStrictObject(text, /*max_depth=*/4);
  if (!header) return InvalidArgument("the token's header is not a JSON object without repetitions");
  for (const char* name : {"jwk", "jku", "x5u", "x5c"})
    if (header->contains(name)) return InvalidArgument("the token brings its own key ({})", name);
  for (const char* name : {"crit", "b64", "zip", "enc"})
    if (header->contains(name)) return InvalidArgument("the token uses {}, which is not supported", name);
  const std::string* alg = Text(*header, "alg");
  const auto algorithm = alg == nullptr ? std::nullopt : JwsByName(*alg);
  if (!algorithm) return InvalidArgument("the token's algorithm is not one of ES256, EdDSA, RS256, PS256");
  jwt.algorithm = *algorithm;
  const std::string* kid = Text(*header, "kid");
  if (kid == nullptr || kid->empty() || kid->size() > kMaxKidLetters ||
      !std::all_of(kid->begin(), kid->end(), IsKidLetter))
    return InvalidArgument("the token's kid is missing or not the name of a key");
  jwt.kid = *kid;
  if (header->contains("typ")) {
    const std::string* type = Text(*header, "typ");
    if (type == nullptr || type->empty()) return InvalidArgument("the token's typ is not a name");
    for (const char c : *type) jwt.type += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  return {};
}

/// 1 <= number < order, both of 32 bytes, high byte first. Signatures are public, so time may tell of them.
bool IsWithinOrder(std::string_view number) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(number.data());
  const bool zero = std::all_of(bytes, bytes + kNumberBytes, [](unsigned char b) { return b == 0; });
  return !zero &&
         std::lexicographical_compare(bytes, bytes + kNumberBytes, kP256Order.begin(), kP256Order.end());
}

/// r | s as the DER that OpenSSL verifies; empty if r or s is out of range.
std::string DerOfRaw(std::string_view raw) {
  if (raw.size() != kSignatureBytes) return {};
  const std::string_view r = raw.substr(0, kNumberBytes), s = raw.substr(kNumberBytes);
  if (!IsWithinOrder(r) || !IsWithinOrder(s)) return {};
  const auto number = [](std::string_view bytes) {
    return BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()),
                     nullptr);
  };
  const SignaturePtr signature(ECDSA_SIG_new());
  if (!signature || ECDSA_SIG_set0(signature.get(), number(r), number(s)) != 1) return {};
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(signature.get(), &der);
  std::string text(reinterpret_cast<const char*>(der), static_cast<size_t>(std::max(size, 0)));
  OPENSSL_free(der);
  return text;
}

/// The other way; empty if it is no such DER.
std::string RawOfDer(std::string_view der) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  const SignaturePtr signature(d2i_ECDSA_SIG(nullptr, &bytes, static_cast<long>(der.size())));
  std::string raw(kSignatureBytes, '\0');
  auto* out = reinterpret_cast<unsigned char*>(raw.data());
  if (!signature || BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), out, kNumberBytes) < 0 ||
      BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), out + kNumberBytes, kNumberBytes) < 0)
    return {};
  return raw;
}

/// Ed25519 hashes by itself.
const EVP_MD* DigestOf(JwsAlgorithm algorithm) {
  return algorithm == JwsAlgorithm::kEdDsa ? nullptr : EVP_sha256();
}

/// PS256 (RFC 7518, section 3.5): MGF1 with SHA-256, a salt as long as the hash. The other algorithms set nothing.
bool SetPadding(EVP_PKEY_CTX* context, JwsAlgorithm algorithm) {
  return algorithm != JwsAlgorithm::kPs256 ||
         (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
          EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) == 1 &&
          EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/// The claim as whole seconds; an error unless it is a number of this era.
Result<int64_t> Seconds(const json& claims, const char* name) {
  const json& value = claims[name];
  if (!value.is_number()) return PermissionDenied("the token's {} is not a number", name);
  const double seconds = value.get<double>();
  // Written so that NaN fails.
  if (!(seconds >= 0 && seconds <= kLastSecond))
    return PermissionDenied("the token's {} is out of range", name);
  return static_cast<int64_t>(std::floor(seconds));
}

Status CheckTimes(const json& claims, bool own, int64_t now) {
  if (!claims.contains("exp")) return PermissionDenied("the token has no exp");
  if (own && !claims.contains("iat")) return PermissionDenied("the token has no iat");
  ASSIGN_OR_RETURN(const int64_t expires, Seconds(claims, "exp"));
  if (expires <= now) return PermissionDenied("the token has expired");
  for (const char* name : {"nbf", "iat"}) {
    if (!claims.contains(name)) continue;
    ASSIGN_OR_RETURN(const int64_t seconds, Seconds(claims, name));
    if (seconds > now + kJwtLeewaySeconds) return PermissionDenied("the token is not valid yet");
  }
  return {};
}

/// aud is a string or an array of strings, one of which is `audience`.
bool NamesAudience(const json& claims, const std::string& audience) {
  const auto aud = claims.find("aud");
  if (aud == claims.end()) return false;
  if (aud->is_string()) return *aud == audience;
  if (!aud->is_array() || !std::all_of(aud->begin(), aud->end(), [](const json& a) { return a.is_string(); }))
    return false;
  return std::find(aud->begin(), aud->end(), audience) != aud->end();
}

/// ID tokens say who logged in, refresh tokens are for the token endpoint; neither opens a route (RFC
/// 8725, 3.12).
bool IsAnotherKind(const json& claims, const std::string& header_type, bool own) {
  for (const char* name : {"nonce", "at_hash", "c_hash"})
    if (claims.contains(name)) return true;
  const auto use = claims.find("token_use");
  if (use == claims.end() ? own : *use != "access") return true;
  const std::string* type = Text(claims, "typ");  // Keycloak's mark
  // Access tokens of others may say when the user logged in (RFC 9068, 2.2.1). Where nothing calls the token an
  // access token, that is a mark of an ID token.
  const bool named = header_type.ends_with("at+jwt") || (type != nullptr && *type == "Bearer");
  if (claims.contains("auth_time") && (own || !named)) return true;
  return type != nullptr && (*type == "ID" || *type == "Refresh" || *type == "Offline");
}

bool IsName(const json& claims, const char* name) {
  const std::string* text = Text(claims, name);
  return text != nullptr && !text->empty() && text->size() <= 256;
}

}  // namespace

Result<ParsedJwt> ParseJwt(std::string_view token) {
  if (token.size() > kMaxJwtBytes)
    return InvalidArgument("the token is longer than {} characters", kMaxJwtBytes);
  std::array<std::string_view, 3> parts;
  if (!Split(token, parts)) return InvalidArgument("the token does not have three parts");
  if (parts[0].size() > kMaxJwtHeaderBytes)
    return InvalidArgument("the token's header is longer than {} characters", kMaxJwtHeaderBytes);
  const auto header = Base64UrlDecode(parts[0]), payload = Base64UrlDecode(parts[1]);
  auto signature = Base64UrlDecode(parts[2]);
  if (!header || !payload || !signature)
    return InvalidArgument("a part of the token is not base64url without padding");
  ParsedJwt jwt;
  RETURN_IF_ERROR(ReadHeader(*header, jwt));
  Result<json> claims = ParseStrictObject(*payload);
  if (!claims) return InvalidArgument("the token's claims are not a JSON object without repetitions");
  jwt.claims = std::move(*claims);
  jwt.signed_text = token.substr(0, parts[0].size() + 1 + parts[1].size());
  jwt.signature = std::move(*signature);
  return jwt;
}

bool VerifySignature(const VerifyKey& key, std::string_view text, std::string_view signature) {
  std::string der;
  if (key.algorithm == JwsAlgorithm::kEs256) {
    der = DerOfRaw(signature);
    if (der.empty()) return false;
    signature = der;
  } else if (key.algorithm == JwsAlgorithm::kEdDsa && signature.size() != kSignatureBytes) {
    return false;
  }
  const MdContextPtr context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* padding = nullptr;
  const bool good =
      context &&
      EVP_DigestVerifyInit(context.get(), &padding, DigestOf(key.algorithm), nullptr, key.key.get()) == 1 &&
      SetPadding(padding, key.algorithm) &&
      EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                       signature.size(), reinterpret_cast<const unsigned char*>(text.data()),
                       text.size()) == 1;
  if (!good) ERR_clear_error();
  return good;
}

Status CheckClaims(const ParsedJwt& jwt, const JwtRules& rules, int64_t now) {
  if (rules.own && jwt.algorithm != JwsAlgorithm::kEs256 && jwt.algorithm != JwsAlgorithm::kEdDsa)
    return PermissionDenied("the token's algorithm is not one of this issuer");
  if (std::find(rules.types.begin(), rules.types.end(), jwt.type) == rules.types.end())
    return PermissionDenied("the token's typ is not that of an access token");
  const json& claims = jwt.claims;
  RETURN_IF_ERROR(CheckTimes(claims, rules.own, now));
  const std::string* issuer = Text(claims, "iss");
  if (issuer == nullptr || *issuer != rules.issuer) return PermissionDenied("the token's issuer is another");
  if (!NamesAudience(claims, rules.audience)) return PermissionDenied("the token is for another audience");
  if (IsAnotherKind(claims, jwt.type, rules.own)) return PermissionDenied("the token is not an access token");
  if (!IsName(claims, "sub")) return PermissionDenied("the token has no sub");
  if (rules.own && !IsName(claims, "jti")) return PermissionDenied("the token has no jti");
  return {};
}

Result<std::string> SignJwt(const SigningKey& key, const json& claims) {
  const json header = {{"alg", JwsName(key.algorithm)}, {"kid", key.kid}, {"typ", "at+jwt"}};
  const std::string text = Base64UrlEncode(header.dump()) + "." + Base64UrlEncode(claims.dump());
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const MdContextPtr context(EVP_MD_CTX_new());
  size_t size = 0;
  std::string signature;
  bool good =
      context &&
      EVP_DigestSignInit(context.get(), nullptr, DigestOf(key.algorithm), nullptr, key.key.get()) == 1 &&
      EVP_DigestSign(context.get(), nullptr, &size, bytes, text.size()) == 1;
  if (good) {
    signature.resize(size);
    good = EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes,
                          text.size()) == 1;
    signature.resize(size);
  }
  if (good && key.algorithm == JwsAlgorithm::kEs256) signature = RawOfDer(signature);
  if (!good || signature.empty()) {
    ERR_clear_error();
    return Internal("OpenSSL could not sign a token with the key {}", key.kid);
  }
  return text + "." + Base64UrlEncode(signature);
}

}  // namespace hadal
