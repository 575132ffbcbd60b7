// The 47 attacks on JWT and OAuth that every release replays: each is refused with an exact status and error,
// tells nothing, and a good request passes afterwards.
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/stat.h>

#include <chrono>

#include "server/access_test_util.h"
#include "server/memory_bound_test_util.h"

namespace hadal {
namespace {

using namespace testing_access;

constexpr const char* kHeaderRefused = "algorithm is not one of";

class JwtAttack : public AccessTest {
 protected:
  MemoryBound memory_{32 << 20};

  std::string WithAlg(const json& alg, const std::string& signature = "") {
    const std::string good = Good();
    json header = HeaderOf(good);
    header["alg"] = alg;
    return Unsigned(header.dump(), ClaimsOf(good).dump()) + "." + Base64UrlEncode(signature);
  }
  std::string WithKid(const std::string& kid) {
    return WithHeader([&](json& header) { header["kid"] = kid; });
  }
  /// The good token with another signature.
  std::string WithSignature(const std::string& signature) {
    const std::string good = Good();
    return good.substr(0, good.rfind('.') + 1) + Base64UrlEncode(signature);
  }
  std::string SignatureOf(const std::string& token) {
    return *Base64UrlDecode(token.substr(token.rfind('.') + 1));
  }
};

TEST_F(JwtAttack, J01AlgNone) { ExpectInvalid(WithAlg("none"), kHeaderRefused); }
TEST_F(JwtAttack, J02AlgNoneCapital) { ExpectInvalid(WithAlg("None"), kHeaderRefused); }
TEST_F(JwtAttack, J03AlgNoneMixed) { ExpectInvalid(WithAlg("nOnE"), kHeaderRefused); }
TEST_F(JwtAttack, J04AlgMissing) {
  ExpectInvalid(WithHeader([](json& header) { header.erase("alg"); }), kHeaderRefused);
}

TEST_F(JwtAttack, J06EmbeddedJwk) {
  const PkeyPtr own = Must(NewKey(false));
  const std::string good = Good();
  json header = HeaderOf(good);
  header["jwk"] = PublicJwk(own.get(), JwsAlgorithm::kEs256);
  const std::string text = Unsigned(header.dump(), ClaimsOf(good).dump());
  ExpectInvalid(text + "." + Base64UrlEncode(RawEs256(own.get(), text)), "brings its own key");
}
TEST_F(JwtAttack, J07Jku) {
  ExpectInvalid(WithHeader([](json& h) { h["jku"] = "https://evil.test/jwks.json"; }), "brings its own key");
}
TEST_F(JwtAttack, J08X5u) {
  ExpectInvalid(WithHeader([](json& h) { h["x5u"] = "https://evil.test/cert.pem"; }), "brings its own key");
}
TEST_F(JwtAttack, J09UnknownCrit) {
  ExpectInvalid(WithHeader([](json& h) { h["crit"] = {"exp"}; }), "uses crit");
}
TEST_F(JwtAttack, J10B64False) {
  ExpectInvalid(WithHeader([](json& h) { h["b64"] = false; }), "uses b64");
}
TEST_F(JwtAttack, J11NullSignature) {
  ExpectInvalid(WithSignature(""), "signature is wrong");
  ExpectInvalid(WithSignature(std::string(64, '\0')), "signature is wrong");
}
TEST_F(JwtAttack, J12BlankSecretHmac) {
  const std::string token = WithAlg("HS256");
  const std::string text = token.substr(0, token.rfind('.'));
  ExpectInvalid(text + "." + Base64UrlEncode(HmacSha256("", text)), kHeaderRefused);
}
TEST_F(JwtAttack, J13KidBlank) { ExpectInvalid(WithKid(""), "kid is missing"); }
TEST_F(JwtAttack, J14KidIsPath) {
  ExpectInvalid(WithKid("../../dev/null"), "key is not known");
  ExpectInvalid(WithKid("../keys/0001.pem"), "key is not known");
}
TEST_F(JwtAttack, J15KidIsSql) { ExpectInvalid(WithKid("x' UNION SELECT 'key'--"), "kid is missing or not"); }
TEST_F(JwtAttack, J16KidIsCommand) {
  ExpectInvalid(WithKid("key|touch /tmp/owned"), "kid is missing or not");
}
TEST_F(JwtAttack, J17KidOfAMegabyte) {
  const auto begin = std::chrono::steady_clock::now();
  ExpectInvalid(WithKid(std::string(1 << 20, 'k')), "longer than");
  ExpectInvalid(WithKid(std::string(1500, 'k')), "header is longer than");
  ExpectInvalid(WithKid(std::string(300, 'k')), "kid is missing or not");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}
TEST_F(JwtAttack, J18DuplicateKid) {
  const std::string good = Good();
  const json header = HeaderOf(good);
  std::string twice = header.dump();
  twice.insert(1, "\"kid\":\"other\",");
  ExpectInvalid(SignedText(twice, ClaimsOf(good).dump()), "without repetitions");
  // And in a key set: which of the two is meant?
  const PkeyPtr key = Must(NewKey(false));
  const json jwk = PublicJwk(key.get(), JwsAlgorithm::kEs256);
  const auto set = ParseJwkSet(json{{"keys", {jwk, jwk}}}.dump());
  ASSERT_FALSE(set.has_value());
  EXPECT_NE(set.error().message.find("twice"), std::string::npos);
}

TEST_F(JwtAttack, J24Es256RIsZero) {
  std::string signature = SignatureOf(Good());
  signature.replace(0, 32, 32, '\0');
  ExpectInvalid(WithSignature(signature), "signature is wrong");
}
TEST_F(JwtAttack, J25Es256SIsTheOrder) {
  std::string signature = SignatureOf(Good());
  signature.replace(32, 32, *Base64UrlDecode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE"));
  ExpectInvalid(WithSignature(signature), "signature is wrong");
}
TEST_F(JwtAttack, J26Es256InDer) {
  const std::string good = Good();
  const std::string text = good.substr(0, good.rfind('.'));
  const std::string der = RawSign(Must(keys_->Current())->signer.key.get(), text);
  ExpectInvalid(text + "." + Base64UrlEncode(der), "signature is wrong");
}
TEST_F(JwtAttack, J27TruncatedSignature) {
  const std::string good = Good();
  ExpectInvalid(WithSignature(SignatureOf(good).substr(0, 63)), "signature is wrong");
  ExpectInvalid(good.substr(0, good.size() - 20), "");
  ExpectInvalid(good.substr(0, good.rfind('.')), "three parts");
}
TEST_F(JwtAttack, J28ExtraPart) {
  ExpectInvalid(Good() + ".", "three parts");
  ExpectInvalid(Good() + ".e30", "three parts");
}
TEST_F(JwtAttack, J29Padding) {
  ExpectInvalid(Good() + "==", "not base64url");
  const std::string good = Good();
  ExpectRefused(RequestWith(good.substr(0, good.find('.')) + "=" + good.substr(good.find('.'))), 400,
                "invalid_request", "malformed");
  // Unused bits that are not zero: the same bytes by another name.
  std::string other = good;
  other.back() = other.back() == 'A' ? 'B' : static_cast<char>(other.back() + 1);
  ExpectInvalid(other, "");
}
TEST_F(JwtAttack, J30Spaces) {
  const std::string good = Good();
  ExpectRefused(RequestWith(good.substr(0, 10) + " " + good.substr(10)), 400, "invalid_request", "malformed");
  ExpectRefused(RequestWith(good + " x"), 400, "invalid_request", "malformed");
  ExpectRefused(RequestWith("\t" + good), 400, "invalid_request", "malformed");
}
TEST_F(JwtAttack, J31JsonSerialization) {
  const std::string good = Good();
  const size_t first = good.find('.'), last = good.rfind('.');
  const json form = {{"protected", good.substr(0, first)},
                     {"payload", good.substr(first + 1, last - first - 1)},
                     {"signature", good.substr(last + 1)}};
  ExpectRefused(RequestWith(form.dump()), 400, "invalid_request", "malformed");
  EXPECT_FALSE(ParseJwt(form.dump()).has_value());
}
TEST_F(JwtAttack, J32JweForJws) {
  const std::string jwe =
      Base64UrlEncode(R"({"alg":"RSA-OAEP","enc":"A256GCM"})") + ".a2V5.aXY.Y2lwaGVy.dGFn";
  ExpectInvalid(jwe, "three parts");
  ExpectInvalid(WithHeader([](json& h) { h["enc"] = "A256GCM"; }), "uses enc");
  ExpectInvalid(WithHeader([](json& h) { h["zip"] = "DEF"; }), "uses zip");
}
TEST_F(JwtAttack, J33DuplicateClaim) {
  const std::string good = Good();
  std::string claims = ClaimsOf(good).dump();
  claims.insert(1, "\"scope\":\"admin\",");
  ExpectInvalid(SignedText(HeaderOf(good).dump(), claims), "without repetitions");
}
TEST_F(JwtAttack, J34ExpMissing) {
  ExpectInvalid(WithClaims([](json& c) { c.erase("exp"); }), "no exp");
}
TEST_F(JwtAttack, J35ExpString) {
  ExpectInvalid(WithClaims([](json& c) { c["exp"] = "4102444800"; }), "exp is not a number");
}
TEST_F(JwtAttack, J36ExpHuge) {
  ExpectInvalid(WithClaims([](json& c) { c["exp"] = 1e308; }), "exp is out of range");
  ExpectInvalid(WithClaims([](json& c) { c["exp"] = -1; }), "exp is out of range");
  const std::string good = Good();
  std::string claims = ClaimsOf(good).dump();
  const size_t exp = claims.find("\"exp\":") + 6;
  claims.replace(exp, claims.find(',', exp) - exp, "1e999");
  ExpectInvalid(SignedText(HeaderOf(good).dump(), claims), "claims are not");
}
TEST_F(JwtAttack, J37FutureNbf) {
  ExpectInvalid(WithClaims([this](json& c) { c["nbf"] = now_ + 61; }), "not valid yet");
  ExpectInvalid(WithClaims([this](json& c) { c["iat"] = now_ + 61; }), "not valid yet");
  ExpectGood(WithClaims([this](json& c) { c["nbf"] = now_ + 60; }));
}
TEST_F(JwtAttack, J38WrongAud) {
  for (const json& aud :
       {json("other"), json(nullptr), json(json::array()), json({"other", "hada"}), json({1, "hadal"})})
    ExpectInvalid(WithClaims([&](json& c) { c["aud"] = aud; }), "another audience");
  ExpectInvalid(WithClaims([](json& c) { c.erase("aud"); }), "another audience");
  ExpectGood(WithClaims([](json& c) { c["aud"] = {"other", "hadal"}; }));
}
TEST_F(JwtAttack, J39WrongIss) {
  ExpectInvalid(WithClaims([](json& c) { c["iss"] = "https://hadal.test/"; }), "issuer is another");
  ExpectInvalid(WithClaims([](json& c) { c.erase("iss"); }), "issuer is another");
}
TEST_F(JwtAttack, J40IdTokenAsAccessToken) {
  ExpectInvalid(WithHeader([](json& h) { h["typ"] = "JWT"; }), "typ is not that of an access token");
  ExpectInvalid(WithHeader([](json& h) { h.erase("typ"); }), "typ is not that of an access token");
  ExpectInvalid(WithClaims([](json& c) { c["token_use"] = "id"; }), "not an access token");
  ExpectInvalid(WithClaims([](json& c) { c["token_use"] = "refresh"; }), "not an access token");
  ExpectInvalid(WithClaims([](json& c) { c.erase("token_use"); }), "not an access token");
  ExpectInvalid(WithClaims([](json& c) { c["nonce"] = "n"; }), "not an access token");
  ExpectInvalid(WithClaims([](json& c) { c["auth_time"] = 1; }), "not an access token");
  const IssuedTokens login = Must(
      issuer_->Issue({.subject = "client:app", .client = "app", .scopes = "infer", .refresh = true}, now_));
  ExpectInvalid(login.refresh, "three parts");
}
TEST_F(JwtAttack, J45TokenInQuery) {
  for (const char* query : {"access_token=", "x=1&access_token=", "%61ccess_token=", "x;access%5Ftoken="}) {
    HttpRequest request = RequestWith("");
    request.query = query + Good();
    ExpectRefused(request, 400, "invalid_request", "in the query");
    request = RequestWith(Good());
    request.query = query;
    ExpectRefused(request, 400, "invalid_request", "in the query");
  }
}
TEST_F(JwtAttack, J46TwoAuthorizationHeaders) {
  HttpRequest request = RequestWith(Good());
  request.headers.emplace_back("authorization", "Bearer " + Good());
  ExpectRefused(request, 400, "invalid_request", "more than one");
  request = RequestWith(Good());
  request.headers.emplace_back("x-api-key", "hk_0");
  ExpectRefused(request, 400, "invalid_request", "more than one");
}
TEST_F(JwtAttack, J47RevokedAfterRotation) {
  const std::string bad = Good(), kept = Good();
  EXPECT_EQ(Must(db_->RevokeToken(ClaimsOf(bad)["jti"].get<std::string>(), now_)), 1);
  ExpectInvalid(bad, "revoked");
  Must(keys_->Rotate(JwsAlgorithm::kEdDsa));
  EXPECT_EQ(HeaderOf(Good())["alg"], "EdDSA");
  ExpectInvalid(bad, "revoked");
  ExpectGood(kept);
  Must(keys_->Rotate(JwsAlgorithm::kEs256));
  ExpectInvalid(bad, "revoked");
  ExpectGood(kept);
  // A token that this server signed and has no record of was never given out.
  ExpectInvalid(WithClaims([](json& c) { c["jti"] = "made-up"; }), "revoked");
}

/// Attacks through the keys of an outside issuer.
class OutsideAttack : public JwtAttack {
 protected:
  void SetUp() override {
    JwtAttack::SetUp();
    rsa_.reset(EVP_RSA_gen(2048));
    Write({RsaJwk(rsa_.get(), "rsa")});
    outside_ = Must(OutsideIssuer::Open({kOutsideIssuer, kOutsideAudience, File(), {}, false}));
    MakeAuthorizer(outside_.get());
  }

  Path File() const { return folder_.path() / "jwks.json"; }
  void WriteText(const std::string& text) { Must(WriteFileAtomic(File(), text)); }
  void Write(const std::vector<json>& keys) { WriteText(json{{"keys", keys}}.dump()); }

  json OutsideClaims() const {
    return {{"iss", kOutsideIssuer},
            {"aud", kOutsideAudience},
            {"sub", "eve"},
            {"scope", "openid infer"},
            {"exp", now_ + 300}};
  }
  std::string Token(EVP_PKEY* key, const std::string& alg, const std::string& kid) {
    const json header = {{"alg", alg}, {"kid", kid}, {"typ", "at+jwt"}};
    const std::string text = Unsigned(header.dump(), OutsideClaims().dump());
    const bool ec = EVP_PKEY_is_a(key, "EC") == 1;
    return text + "." + Base64UrlEncode(ec ? RawEs256(key, text) : RawSign(key, text));
  }
  void ExpectOutsideGood() {
    ExpectGood(Token(rsa_.get(), "RS256", "rsa"));
    ExpectGood(Good());
  }
  /// The set is refused with this sentence, the old keys stay, and tokens of the new key do not pass.
  void ExpectSetRefused(const std::vector<json>& keys, const std::string& sentence,
                        const std::string& token) {
    const auto set = ParseJwkSet(json{{"keys", keys}}.dump());
    ASSERT_FALSE(set.has_value());
    EXPECT_NE(set.error().message.find(sentence), std::string::npos) << set.error().message;
    Write(keys);
    ExpectInvalid(token, "key is not known");
    ExpectOutsideGood();
  }

  PkeyPtr rsa_;
  std::unique_ptr<OutsideIssuer> outside_;
};

TEST_F(OutsideAttack, GoodTokenPasses) {
  ExpectOutsideGood();
  const auto identity = authorizer_->Check(RequestWith(Token(rsa_.get(), "RS256", "rsa")), kScopeInfer);
  ASSERT_TRUE(identity.has_value());
  EXPECT_EQ(identity->subject, "https://idp.test|eve");
}
TEST_F(OutsideAttack, J05Hs256WithTheRsaPublicKey) {
  const BioPtr pem(BIO_new(BIO_s_mem()));
  PEM_write_bio_PUBKEY(pem.get(), rsa_.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(pem.get(), &data);
  const std::string key(data, static_cast<size_t>(size));
  const json header = {{"alg", "HS256"}, {"kid", "rsa"}, {"typ", "at+jwt"}};
  const std::string text = Unsigned(header.dump(), OutsideClaims().dump());
  ExpectInvalid(text + "." + Base64UrlEncode(HmacSha256(key, text)), kHeaderRefused);
  ExpectOutsideGood();
}
TEST_F(OutsideAttack, J19WrongUse) {
  const PkeyPtr key = Must(NewKey(false));
  json jwk = PublicJwk(key.get(), JwsAlgorithm::kEs256);
  const std::string token = Token(key.get(), "ES256", jwk["kid"]);
  Write({RsaJwk(rsa_.get(), "rsa"), jwk});
  ExpectGood(token);
  jwk["use"] = "enc";
  Write({RsaJwk(rsa_.get(), "rsa"), jwk});
  ExpectInvalid(token, "key is not known");
  ExpectOutsideGood();
}
TEST_F(OutsideAttack, J20WrongKeyOps) {
  const PkeyPtr key = Must(NewKey(true));
  json jwk = PublicJwk(key.get(), JwsAlgorithm::kEdDsa);
  const std::string token = Token(key.get(), "EdDSA", jwk["kid"]);
  jwk["key_ops"] = {"verify"};
  Write({RsaJwk(rsa_.get(), "rsa"), jwk});
  ExpectGood(token);
  for (const json& operations : {json({"encrypt"}), json({"sign"}), json("verify"), json(json::array())}) {
    jwk["key_ops"] = operations;
    Write({RsaJwk(rsa_.get(), "rsa"), jwk});
    ExpectInvalid(token, "key is not known");
  }
  ExpectOutsideGood();
}
TEST_F(OutsideAttack, J21RsaOf1024Bits) {
  const PkeyPtr weak(EVP_RSA_gen(1024));
  ExpectSetRefused({RsaJwk(rsa_.get(), "rsa"), RsaJwk(weak.get(), "weak")}, "1024 bits",
                   Token(weak.get(), "RS256", "weak"));
}
TEST_F(OutsideAttack, J22RsaExponentOne) {
  json jwk = RsaJwk(rsa_.get(), "one");
  for (const char* e : {"AQ", "Aw", "AQAA", ""}) {  // 1, 3, 65536, nothing
    jwk["e"] = e;
    ExpectSetRefused({RsaJwk(rsa_.get(), "rsa"), jwk}, "RSA exponent", Token(rsa_.get(), "RS256", "one"));
  }
}
TEST_F(OutsideAttack, J23AlgAndCurveMismatch) {
  const PkeyPtr key = Must(NewKey(false));
  json jwk = PublicJwk(key.get(), JwsAlgorithm::kEs256);
  const std::string kid = jwk["kid"];
  Write({RsaJwk(rsa_.get(), "rsa"), jwk});
  // The token says another algorithm than its key's.
  ExpectInvalid(Token(key.get(), "EdDSA", kid), "key is not known");
  ExpectInvalid(Token(key.get(), "RS256", kid), "key is not known");
  ExpectInvalid(Token(rsa_.get(), "ES256", "rsa"), "key is not known");
  // The key says another than its curve's.
  Write({RsaJwk(rsa_.get(), "rsa")});
  ExpectOutsideGood();
  for (const auto& [name, value] : std::map<std::string, std::string>{{"alg", "EdDSA"}, {"crv", "P-384"}}) {
    json odd = jwk;
    odd[name] = value;
    ExpectSetRefused({RsaJwk(rsa_.get(), "rsa"), odd}, "does not fit", Token(key.get(), "ES256", kid));
  }
  json off_curve = jwk;
  off_curve["y"] = jwk["x"];
  ExpectSetRefused({RsaJwk(rsa_.get(), "rsa"), off_curve}, "not on P-256", Token(key.get(), "ES256", kid));
  const json small = {
      {"kty", "OKP"}, {"crv", "Ed25519"}, {"kid", "small"}, {"x", Base64UrlEncode(std::string(32, 0))}};
  ExpectSetRefused({RsaJwk(rsa_.get(), "rsa"), small}, "safe one", Token(key.get(), "ES256", kid));
}
TEST_F(OutsideAttack, J41UnknownKidFlood) {
  const PkeyPtr key = Must(NewKey(false));
  const int64_t loads = outside_->stats().loads;
  const std::string token = Token(key.get(), "ES256", "no-such-key");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 2000; ++i) {
    const auto identity = authorizer_->Check(RequestWith(token), kScopeInfer);
    ASSERT_FALSE(identity.has_value());
    ASSERT_EQ(identity.error().error, "invalid_token");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_EQ(outside_->stats().loads, loads) << "an unknown kid must not make the keys be fetched again";
  ExpectOutsideGood();
}
TEST_F(OutsideAttack, J42JwksFetchFailed) {
  // What a fetcher that does not look at the status leaves behind: an error page, or nothing.
  for (const char* text : {"<html>500 Internal Server Error</html>", "", "{\"keys\": []}", "{}", "[]"}) {
    WriteText(text);
    ExpectInvalid(Token(rsa_.get(), "RS256", "other"), "key is not known");
    ExpectOutsideGood();
  }
  std::filesystem::remove(File());
  ExpectOutsideGood();
  EXPECT_FALSE(OutsideIssuer::Open({kOutsideIssuer, kOutsideAudience, File(), {}, false}).has_value());
}
TEST_F(OutsideAttack, J43JwksSlow) {
  // A pipe that no one writes to: a reader would wait for ever.
  std::filesystem::remove(File());
  ASSERT_EQ(mkfifo(File().c_str(), 0600), 0);
  const auto begin = std::chrono::steady_clock::now();
  ExpectOutsideGood();
  EXPECT_FALSE(OutsideIssuer::Open({kOutsideIssuer, kOutsideAudience, File(), {}, false}).has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}
TEST_F(OutsideAttack, J44JwksHuge) {
  json set = {{"keys", {RsaJwk(rsa_.get(), "rsa")}}, {"padding", std::string(kMaxJwkSetBytes, 'x')}};
  WriteText(set.dump());
  ExpectOutsideGood();
  const auto fresh = OutsideIssuer::Open({kOutsideIssuer, kOutsideAudience, File(), {}, false});
  ASSERT_FALSE(fresh.has_value());
  EXPECT_EQ(fresh.error().code, Code::kResourceExhausted);
  EXPECT_FALSE(ParseJwkSet("{\"keys\":" + std::string(100000, '[')).has_value());
}

TEST_F(OutsideAttack, EachIssuersKeysAreItsOwn) {
  // The outside issuer's key must not sign for this server, nor the other way round.
  const std::string good = Good();
  const json header = {{"alg", "RS256"}, {"kid", "rsa"}, {"typ", "at+jwt"}};
  const std::string text = Unsigned(header.dump(), ClaimsOf(good).dump());
  ExpectInvalid(text + "." + Base64UrlEncode(RawSign(rsa_.get(), text)), "key is not known");
  ExpectInvalid(Signed(HeaderOf(good), OutsideClaims()), "key is not known");
  ExpectOutsideGood();
}

}  // namespace
}  // namespace hadal
