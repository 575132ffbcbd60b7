// For tests of access control: a state folder of its own, a clock that stands still, tokens good and forged.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "server/authorizer.h"
#include "server/base64url.h"
#include "server/jwt.h"
#include "server/keys.h"
#include "server/pem.h"
#include "server/state_db.h"
#include "server/token_issuer.h"

namespace hadal::testing_access {

using nlohmann::json;

constexpr const char* kIssuer = "https://hadal.test";
constexpr const char* kAudience = "hadal";
constexpr const char* kOutsideIssuer = "https://idp.test";
constexpr const char* kOutsideAudience = "hadal-api";

/// The value, or the test stops with the error's sentence.
template <typename T>
T Must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "unexpected error: %s\n", result.error().message.c_str());
    std::abort();
  }
  return std::move(*result);
}
inline void Must(Status status) {
  if (!status) {
    std::fprintf(stderr, "unexpected error: %s\n", status.error().message.c_str());
    std::abort();
  }
}

class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/hadal_access_XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const Path& path() const { return path_; }

 private:
  Path path_;
};

/// header.claims of the texts, in base64url.
inline std::string Unsigned(const std::string& header, const std::string& claims) {
  return Base64UrlEncode(header) + "." + Base64UrlEncode(claims);
}

inline std::string HmacSha256(const std::string& key, const std::string& text) {
  unsigned char mac[32];
  size_t size = 0;
  EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA256", nullptr, key.data(), key.size(),
            reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, sizeof(mac), &size);
  return {reinterpret_cast<char*>(mac), size};
}

/// The DER signature of `text` (RSA: PKCS 1; EC: a DER pair of numbers; Ed25519: 64 bytes).
inline std::string RawSign(EVP_PKEY* key, const std::string& text) {
  const MdContextPtr context(EVP_MD_CTX_new());
  const EVP_MD* digest = EVP_PKEY_is_a(key, "ED25519") ? nullptr : EVP_sha256();
  size_t size = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  EVP_DigestSignInit(context.get(), nullptr, digest, nullptr, key);
  EVP_DigestSign(context.get(), nullptr, &size, bytes, text.size());
  std::string signature(size, '\0');
  EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes,
                 text.size());
  signature.resize(size);
  return signature;
}

/// n, e of an RSA key as a JWK.
inline json RsaJwk(EVP_PKEY* key, const std::string& kid) {
  const auto number = [key](const char* name) {
    BIGNUM* raw = nullptr;
    EVP_PKEY_get_bn_param(key, name, &raw);
    const BigNumPtr owner(raw);
    std::string bytes(static_cast<size_t>(BN_num_bytes(raw)), '\0');
    BN_bn2bin(raw, reinterpret_cast<unsigned char*>(bytes.data()));
    return Base64UrlEncode(bytes);
  };
  return {{"kty", "RSA"}, {"kid", kid}, {"alg", "RS256"}, {"n", number("n")}, {"e", number("e")}};
}

inline HttpRequest RequestWith(const std::string& token) {
  HttpRequest request;
  request.method = "GET";
  request.target = "/v1/models";
  request.peer = "192.0.2.1";
  if (!token.empty()) request.headers.emplace_back("authorization", "Bearer " + token);
  return request;
}

/// A server's access control without a server.
class AccessTest : public testing::Test {
 protected:
  void SetUp() override {
    Must(OpenStateFolder(folder_.path()));
    db_ = Must(StateDb::Open(folder_.path()));
    keys_ = Must(SigningKeys::Open(folder_.path()));
    issuer_ = std::make_unique<TokenIssuer>(TokenIssuerOptions{kIssuer, kAudience, 900, 86400}, *keys_, *db_);
    Must(
        db_->AddAccount({.subject = "client:app", .secret = "", .scopes = "infer metrics", .created = now_}));
    MakeAuthorizer(nullptr);
  }

  void MakeAuthorizer(OutsideIssuer* outside) {
    authorizer_ = std::make_unique<TokenAuthorizer>(
        AuthorizerOptions{kIssuer, kAudience, [this] { return now_; }}, *keys_, *db_,
        outside ? std::vector<OutsideIssuer*>{outside} : std::vector<OutsideIssuer*>{});
  }

  /// A good token for infer.
  std::string Good() {
    return Must(issuer_->Issue({.subject = "client:app", .client = "app", .scopes = "infer"}, now_)).access;
  }

  json HeaderOf(const std::string& token) {
    return json::parse(*Base64UrlDecode(token.substr(0, token.find('.'))));
  }
  json ClaimsOf(const std::string& token) {
    const size_t first = token.find('.') + 1;
    return json::parse(*Base64UrlDecode(token.substr(first, token.rfind('.') - first)));
  }

  /// A token of any header and claims with a true signature by this server's key.
  std::string SignedText(const std::string& header, const std::string& claims) {
    const std::string text = Unsigned(header, claims);
    const auto ring = Must(keys_->Current());
    // SignJwt writes its own header; the conversion of the signature is borrowed from a real one.
    return text + "." + Base64UrlEncode(RawEs256(ring->signer.key.get(), text));
  }
  std::string Signed(const json& header, const json& claims) {
    return SignedText(header.dump(), claims.dump());
  }
  /// The good token's claims after `change`, signed.
  template <typename Change>
  std::string WithClaims(Change change) {
    const std::string good = Good();
    json claims = ClaimsOf(good);
    change(claims);
    return Signed(HeaderOf(good), claims);
  }
  template <typename Change>
  std::string WithHeader(Change change) {
    const std::string good = Good();
    json header = HeaderOf(good);
    change(header);
    return Signed(header, ClaimsOf(good));
  }

  /// 64 bytes r | s.
  static std::string RawEs256(EVP_PKEY* key, const std::string& text) {
    const std::string der = RawSign(key, text);
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    const SignaturePtr pair(d2i_ECDSA_SIG(nullptr, &bytes, static_cast<long>(der.size())));
    std::string raw(64, '\0');
    auto* out = reinterpret_cast<unsigned char*>(raw.data());
    BN_bn2binpad(ECDSA_SIG_get0_r(pair.get()), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(pair.get()), out + 32, 32);
    return raw;
  }

  void ExpectGood(const std::string& token, std::string_view scope = kScopeInfer) {
    const auto identity = authorizer_->Check(RequestWith(token), scope);
    EXPECT_TRUE(identity.has_value()) << identity.error().status << ' ' << identity.error().description;
  }
  /// The request is refused exactly so, tells nothing of the token, and a good one passes afterwards.
  void ExpectRefused(const HttpRequest& request, int status, const std::string& error,
                     const std::string& description = "") {
    const auto identity = authorizer_->Check(request, kScopeInfer);
    ASSERT_FALSE(identity.has_value());
    EXPECT_EQ(identity.error().status, status);
    EXPECT_EQ(identity.error().error, error);
    EXPECT_NE(identity.error().description.find(description), std::string::npos)
        << identity.error().description;
    EXPECT_TRUE(identity.error().www_authenticate.starts_with("Bearer realm=\"hadal\""));
    EXPECT_LT(identity.error().www_authenticate.size(), 300u);
    ExpectGood(Good());
  }
  void ExpectInvalid(const std::string& token, const std::string& description) {
    ExpectRefused(RequestWith(token), 401, "invalid_token", description);
  }

  TempFolder folder_;
  int64_t now_ = 1'800'000'000;
  std::unique_ptr<StateDb> db_;
  std::unique_ptr<SigningKeys> keys_;
  std::unique_ptr<TokenIssuer> issuer_;
  std::unique_ptr<TokenAuthorizer> authorizer_;
};

}  // namespace hadal::testing_access
