// Tokens of an outside issuer whose keys come over HTTPS: from a real server, which rotates, fails, stalls
// and lies.
#include "server/outside_issuer.h"

#include <openssl/rsa.h>

#include "server/access_test_util.h"
#include "server/http_test_util.h"

namespace hadal {
namespace {

using namespace testing_access;
using testing_http::Eventually;
using testing_http::TestPki;
using namespace std::chrono_literals;

/// RSASSA-PSS with SHA-256 and a salt of `salt_bytes`.
std::string SignPss(EVP_PKEY* key, const std::string& text, int salt_bytes = 32) {
  const MdContextPtr context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* padding = nullptr;
  EVP_DigestSignInit(context.get(), &padding, EVP_sha256(), nullptr, key);
  EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING);
  EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, salt_bytes);
  size_t size = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  EVP_DigestSign(context.get(), nullptr, &size, bytes, text.size());
  std::string signature(size, '\0');
  EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes,
                 text.size());
  return signature;
}

/// An identity provider on loopback: a configuration and a key set, each as the test wants them.
class OutsideIssuerTest : public AccessTest {
 protected:
  void SetUp() override {
    AccessTest::SetUp();
    rsa_.reset(EVP_RSA_gen(2048));
    ServeKeys({RsaJwk(rsa_.get(), "rsa")});
    StartProvider("127.0.0.1:0");
    issuer_name_ = "https://" + provider_->address();
  }
  void TearDown() override {
    const std::lock_guard lock(mutex_);
    kept_.clear();
  }

  void StartProvider(const std::string& listen) {
    ServerOptions options;
    options.listen = listen;
    options.tls = pki_.Tls();
    options.unauthenticated = true;
    auto server = HttpServer::Start(
        options,
        {{"GET", "/jwks", "", [this](const HttpRequest&, auto writer) { Answer(std::move(writer), keys_); }},
         {"GET", "/.well-known/openid-configuration", "",
          [this](const HttpRequest&, auto writer) { Answer(std::move(writer), configuration_); }}},
        nullptr);
    ASSERT_TRUE(server) << server.error().message;
    provider_ = std::move(*server);
  }
  void Answer(std::shared_ptr<ResponseWriter> writer, const std::string& text) {
    ++asked_;
    const std::lock_guard lock(mutex_);
    if (status_ == 0) {
      kept_.push_back(std::move(writer));
      return;
    }
    HttpHeaders headers{{"content-type", "application/json"}};
    if (status_ == 302) headers.emplace_back("location", "/.well-known/openid-configuration");
    writer->Send(status_, headers, text);
  }
  void ServeText(const std::string& text, int status = 200) {
    const std::lock_guard lock(mutex_);
    keys_ = text;
    status_ = status;
  }
  void ServeKeys(const std::vector<json>& keys) { ServeText(json{{"keys", keys}}.dump()); }

  OutsideIssuerOptions Options() {
    OutsideIssuerOptions options;
    options.issuer = issuer_name_;
    options.audience = kOutsideAudience;
    options.jwks = issuer_name_ + "/jwks";
    options.ca_file = pki_.File("ca.crt");
    options.retry = 10ms;
    options.warn = [this](const std::string& text) {
      const std::lock_guard lock(mutex_);
      warnings_ += text + "\n";
    };
    return options;
  }
  void Open(OutsideIssuerOptions options) {
    outside_ = Must(OutsideIssuer::Open(std::move(options)));
    MakeAuthorizer(outside_.get());
  }
  /// With its keys fetched.
  void OpenGood(OutsideIssuerOptions options) {
    Open(std::move(options));
    ASSERT_TRUE(Eventually([&] { return outside_->Keys() != nullptr; })) << Warnings();
  }
  std::string Warnings() {
    const std::lock_guard lock(mutex_);
    return warnings_;
  }

  json Claims() const {
    return {{"iss", issuer_name_},
            {"aud", kOutsideAudience},
            {"sub", "eve"},
            {"scope", "infer"},
            {"exp", now_ + 300}};
  }
  std::string Sign(const json& header, const json& claims) {
    const std::string text = Unsigned(header.dump(), claims.dump());
    return text + "." + Base64UrlEncode(RawSign(rsa_.get(), text));
  }
  static json Header(const std::string& kid = "rsa") {
    return {{"alg", "RS256"}, {"kid", kid}, {"typ", "at+jwt"}};
  }
  std::string GoodOutside() { return Sign(Header(), Claims()); }
  template <typename Change>
  std::string With(Change change) {
    json claims = Claims();
    change(claims);
    return Sign(Header(), claims);
  }
  int StatusOf(const std::string& token, std::string_view scope = kScopeInfer) {
    const auto identity = authorizer_->Check(RequestWith(token), scope);
    return identity ? 200 : identity.error().status;
  }

  TestPki pki_;
  std::mutex mutex_;
  std::string keys_, configuration_, warnings_, issuer_name_;  // guarded by mutex_, but for the name
  int status_ = 200;                                           // 0: no answer at all
  std::vector<std::shared_ptr<ResponseWriter>> kept_;
  std::atomic<int> asked_{0};
  PkeyPtr rsa_;
  std::unique_ptr<HttpServer> provider_;
  std::unique_ptr<OutsideIssuer> outside_;
};

TEST_F(OutsideIssuerTest, FetchesKeysAndNamesTheCallerAfterTheIssuer) {
  OpenGood(Options());
  const auto identity = authorizer_->Check(RequestWith(GoodOutside()), kScopeInfer);
  ASSERT_TRUE(identity.has_value());
  EXPECT_EQ(identity->subject, issuer_name_ + "|eve");
  // The name of a local account stays the provider's.
  const auto local =
      authorizer_->Check(RequestWith(With([](json& c) { c["sub"] = "client:app"; })), kScopeInfer);
  ASSERT_TRUE(local.has_value());
  EXPECT_EQ(local->subject, issuer_name_ + "|client:app");
  ExpectGood(Good());
}

TEST_F(OutsideIssuerTest, FindsTheKeySetByDiscovery) {
  OutsideIssuerOptions options = Options();
  options.jwks.clear();
  configuration_ = json{{"issuer", issuer_name_}, {"jwks_uri", issuer_name_ + "/jwks"}}.dump();
  {
    // The one handler answers with the keys, the other with the configuration.
    OpenGood(options);
    ExpectGood(GoodOutside());
  }
  for (const json& bad :
       {json{{"issuer", "https://other.test"}, {"jwks_uri", issuer_name_ + "/jwks"}},
        json{{"issuer", issuer_name_}}, json{{"issuer", issuer_name_}, {"jwks_uri", 1}},
        json{{"issuer", issuer_name_}, {"jwks_uri", "http://192.0.2.1/jwks"}},
        json{{"issuer", issuer_name_}, {"jwks_uri", "file:///etc/passwd"}}, json::array()}) {
    {
      const std::lock_guard lock(mutex_);
      configuration_ = bad.dump();
    }
    EXPECT_FALSE(FetchKeySet(options, {})) << bad;
  }
}

TEST_F(OutsideIssuerTest, UnknownKeyMakesANewSetBeFetched) {
  OpenGood(Options());
  const PkeyPtr next(EVP_RSA_gen(2048));
  ServeKeys({RsaJwk(rsa_.get(), "rsa"), RsaJwk(next.get(), "next")});
  std::swap(rsa_, const_cast<PkeyPtr&>(next));
  const std::string token = Sign(Header("next"), Claims());
  EXPECT_TRUE(Eventually([&] { return StatusOf(token) == 200; }));
  // The old key is taken out of the set, and of use.
  ServeKeys({RsaJwk(rsa_.get(), "next")});
  std::swap(rsa_, const_cast<PkeyPtr&>(next));
  const std::string old = GoodOutside();
  EXPECT_TRUE(Eventually([&] {
    StatusOf(Sign(Header("unknown"), Claims()));
    return StatusOf(old) == 401;
  }));
  EXPECT_EQ(StatusOf(token), 200);
}

TEST_F(OutsideIssuerTest, AFloodOfUnknownKeysFetchesNothingMore) {
  OutsideIssuerOptions options = Options();
  options.retry = std::chrono::hours(1);
  OpenGood(options);
  const std::string token = Sign(Header("no-such-key"), Claims());
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(StatusOf(token), 401);
  EXPECT_EQ(outside_->stats().loads, 1);
  EXPECT_EQ(asked_, 1);
  ExpectGood(GoodOutside());
}

TEST_F(OutsideIssuerTest, AProviderThatDoesNotAnswerIs503UntilItDoes) {
  ServeText("<html>Internal Server Error</html>", 500);
  Open(Options());
  ASSERT_TRUE(Eventually([&] { return outside_->stats().failures >= 2; }));
  EXPECT_EQ(StatusOf(GoodOutside()), 503);
  ExpectGood(Good());  // this server's own tokens do not depend on it
  EXPECT_NE(Warnings().find("status 500"), std::string::npos) << Warnings();
  EXPECT_EQ(outside_->stats().seconds_since_success, -1);
  ServeKeys({RsaJwk(rsa_.get(), "rsa")});
  EXPECT_TRUE(Eventually([&] { return StatusOf(GoodOutside()) == 200; }));
}

TEST_F(OutsideIssuerTest, KeysStayWhenTheProviderGoesAway) {
  OutsideIssuerOptions options = Options();
  options.refresh = 20ms;
  OpenGood(options);
  const std::string address = provider_->address();
  provider_.reset();
  ASSERT_TRUE(Eventually([&] { return outside_->stats().failures >= 2; }));
  ExpectGood(GoodOutside());
  EXPECT_EQ(outside_->stats().keys, 1u);
  EXPECT_NE(Warnings().find("those known stay in use"), std::string::npos);
  StartProvider(address);
  const int64_t failures = outside_->stats().failures, loads = outside_->stats().loads;
  EXPECT_TRUE(Eventually([&] { return outside_->stats().loads - loads > outside_->stats().failures - failures; }));
}

TEST_F(OutsideIssuerTest, AProviderThatStallsHoldsUpNothing) {
  ServeText("", 0);
  Open(Options());
  ASSERT_TRUE(Eventually([&] { return asked_ >= 1; }));
  EXPECT_EQ(StatusOf(GoodOutside()), 503);
  ExpectGood(Good());
  MakeAuthorizer(nullptr);
  outside_.reset();  // ends the fetch instead of waiting for its time limit
}

TEST_F(OutsideIssuerTest, BadSetsLeaveTheGoodKeysInUse) {
  OutsideIssuerOptions options = Options();
  options.refresh = 10ms;
  OpenGood(options);
  json twin = RsaJwk(rsa_.get(), "rsa");
  const PkeyPtr weak(EVP_RSA_gen(1024));
  json with_private = RsaJwk(rsa_.get(), "private");
  with_private["d"] = "AQAB";
  const json oct = {{"kty", "oct"}, {"kid", "oct"}, {"alg", "HS256"}, {"k", Base64UrlEncode("shared")}};
  std::vector<json> many;
  for (size_t i = 0; i <= kMaxJwkSetKeys; ++i) many.push_back(RsaJwk(rsa_.get(), std::to_string(i)));
  const std::vector<std::string> sets = {
      json{{"keys", {twin, twin}}}.dump(),
      json{{"keys", {twin, RsaJwk(weak.get(), "weak")}}}.dump(),
      json{{"keys", {twin, with_private}}}.dump(),
      json{{"keys", {oct}}}.dump(),  // none is left
      json{{"keys", many}}.dump(),
      json{{"keys", {1, "two", nullptr}}}.dump(),
      R"({"keys": {"rsa": {}}})",
      R"({"keys": [], "keys": []})",
      "[]",
      "",
      "{\"keys\":" + std::string(100'000, '['),
      json{{"keys", {twin}}, {"padding", std::string(kMaxJwkSetBytes, 'x')}}.dump()};
  for (size_t i = 0; i < sets.size(); ++i) {
    ServeText(sets[i]);
    const int64_t failures = outside_->stats().failures;
    ASSERT_TRUE(Eventually([&] { return outside_->stats().failures >= failures + 2; })) << "set " << i;
    ExpectGood(GoodOutside());
    EXPECT_EQ(outside_->stats().keys, 1u);
  }
  // A redirect is no key set either.
  ServeText(json{{"keys", {twin}}}.dump(), 302);
  const int64_t failures = outside_->stats().failures;
  EXPECT_TRUE(Eventually([&] { return outside_->stats().failures >= failures + 2; }));
}

TEST_F(OutsideIssuerTest, ASymmetricKeyAmongOthersVerifiesNothing) {
  const std::string secret = "shared";
  ServeKeys({RsaJwk(rsa_.get(), "rsa"),
             {{"kty", "oct"}, {"kid", "oct"}, {"k", Base64UrlEncode(secret)}},
             {{"kty", "oct"}, {"kid", "oct2"}, {"alg", "RS256"}, {"k", Base64UrlEncode(secret)}}});
  Open(Options());
  const auto hmac = [&](const char* alg, const char* kid) {
    const std::string text =
        Unsigned(json{{"alg", alg}, {"kid", kid}, {"typ", "at+jwt"}}.dump(), Claims().dump());
    return text + "." + Base64UrlEncode(HmacSha256(secret, text));
  };
  // "oct2" says RS256 of a symmetric key: such a set is not to be trusted at all.
  ASSERT_TRUE(Eventually([&] { return outside_->stats().failures >= 1; }));
  EXPECT_EQ(StatusOf(hmac("RS256", "oct2")), 503);
  ServeKeys({RsaJwk(rsa_.get(), "rsa"), {{"kty", "oct"}, {"kid", "oct"}, {"k", Base64UrlEncode(secret)}}});
  ASSERT_TRUE(Eventually([&] { return outside_->Keys() != nullptr; }));
  for (const char* alg : {"HS256", "RS256", "none"})
    for (const char* kid : {"oct", "rsa"}) EXPECT_EQ(StatusOf(hmac(alg, kid)), 401) << alg << ' ' << kid;
  ExpectGood(GoodOutside());
}

TEST_F(OutsideIssuerTest, Ps256IsVerifiedWithKeysThatSaySo) {
  json pss = RsaJwk(rsa_.get(), "pss");
  pss["alg"] = "PS256";
  ServeKeys({pss, RsaJwk(rsa_.get(), "rsa")});
  OpenGood(Options());
  const auto token = [&](const char* alg, const char* kid, int salt) {
    const std::string text =
        Unsigned(json{{"alg", alg}, {"kid", kid}, {"typ", "at+jwt"}}.dump(), Claims().dump());
    return text + "." + Base64UrlEncode(SignPss(rsa_.get(), text, salt));
  };
  ExpectGood(token("PS256", "pss", 32));
  EXPECT_EQ(StatusOf(token("PS256", "pss", 20)), 401);  // another salt length than RFC 7518's
  EXPECT_EQ(StatusOf(token("PS256", "rsa", 32)), 401);  // that key is for RS256
  EXPECT_EQ(StatusOf(token("RS256", "rsa", 32)), 401);
  EXPECT_EQ(StatusOf(Sign(Header("pss"), Claims())), 401);
  ExpectGood(GoodOutside());
}

TEST_F(OutsideIssuerTest, ScopesAreTakenFromTheClaimAndWithinWhatTheIssuerMayGive) {
  OpenGood(Options());
  EXPECT_EQ(StatusOf(With([](json& c) { c["scope"] = "openid infer admin metrics"; }), kScopeInfer), 200);
  EXPECT_EQ(StatusOf(With([](json& c) { c["scope"] = "openid infer admin metrics"; }), kScopeAdmin), 403);
  EXPECT_EQ(StatusOf(With([](json& c) { c["scope"] = "openid infer admin metrics"; }), kScopeMetrics), 403);
  EXPECT_EQ(StatusOf(With([](json& c) {
              c.erase("scope");
              c["scp"] = {"infer", 1, nullptr};
            })),
            200);
  for (const json& odd : {json("inference"), json("INFER"), json(1), json{{"infer", true}}, json(nullptr)})
    EXPECT_EQ(StatusOf(With([&](json& c) { c["scope"] = odd; })), 403) << odd;

  OutsideIssuerOptions options = Options();
  options.scopes_claim = "realm_access.roles";
  options.scope_names = {{"llm-user", "infer"}, {"prometheus", "metrics"}};
  options.scopes = {"infer", "metrics"};
  OpenGood(options);
  const auto roles = [&](const json& value) {
    return With([&](json& c) { c["realm_access"] = {{"roles", value}}; });
  };
  EXPECT_EQ(StatusOf(roles({"llm-user"})), 200);
  EXPECT_EQ(StatusOf(roles({"prometheus"}), kScopeMetrics), 200);
  EXPECT_EQ(StatusOf(roles({"prometheus"}), kScopeInfer), 403);
  EXPECT_EQ(StatusOf(roles({"infer"})), 403);  // only translated names count
  EXPECT_EQ(StatusOf(GoodOutside()), 403);     // scope is not the claim
}

TEST_F(OutsideIssuerTest, AccessTokensMaySayWhenTheUserLoggedIn) {
  OutsideIssuerOptions options = Options();
  options.plain_type = true;
  OpenGood(options);
  json claims = Claims();
  claims["auth_time"] = now_ - 10;
  EXPECT_EQ(StatusOf(Sign(Header("rsa"), claims)), 200);
  const json plain = {{"alg", "RS256"}, {"kid", "rsa"}, {"typ", "JWT"}};
  EXPECT_EQ(StatusOf(Sign(plain, claims)), 401);  // an ID token has it, too
  claims["typ"] = "Bearer";
  EXPECT_EQ(StatusOf(Sign(plain, claims)), 200);
}

TEST_F(OutsideIssuerTest, TypJwtOnlyWhereItIsAllowed) {
  OpenGood(Options());
  const json plain = {{"alg", "RS256"}, {"kid", "rsa"}, {"typ", "JWT"}};
  EXPECT_EQ(StatusOf(Sign(plain, Claims())), 401);
  OutsideIssuerOptions options = Options();
  options.plain_type = true;
  OpenGood(options);
  EXPECT_EQ(StatusOf(Sign(plain, Claims())), 200);
  json id_token = Claims();
  id_token["nonce"] = "n";
  EXPECT_EQ(StatusOf(Sign(plain, id_token)), 401);
}

TEST_F(OutsideIssuerTest, NamesThatMakeNoSenseAreRefused) {
  const auto refused = [&](auto change) {
    OutsideIssuerOptions options = Options();
    change(options);
    return !OutsideIssuer::Open(options).has_value();
  };
  using Options = OutsideIssuerOptions;
  for (const char* name :
       {"", "user:alice", "client:app", "http://idp.test", "https://idp.test|x", "https://idp .test"})
    EXPECT_TRUE(refused([&](Options& o) { o.issuer = name; })) << name;
  EXPECT_TRUE(refused([](Options& o) { o.audience.clear(); }));
  EXPECT_TRUE(refused([](Options& o) { o.jwks = "http://idp.test/jwks"; }));
  EXPECT_TRUE(refused([](Options& o) { o.scopes = {"root"}; }));
}

/// The attacks on tokens again, with true signatures of the outside issuer's key where an attack allows one.
TEST_F(OutsideIssuerTest, EveryAttackOnATokenIsRefusedAndAGoodOnePassesAfterwards) {
  OpenGood(Options());
  const std::string good = GoodOutside();
  const size_t last = good.rfind('.');
  const std::string body = good.substr(0, last), payload = Base64UrlEncode(Claims().dump());
  std::map<std::string, std::string> attacks;
  const auto header = [&](const std::string& name, auto change) {
    json changed = Header();
    change(changed);
    attacks[name] = Sign(changed, Claims());
  };
  const auto claims = [&](const std::string& name, auto change) { attacks[name] = With(change); };
  for (const char* alg : {"none", "None", "nOnE", "", "HS256", "HS512", "RS1", "RS512", "ES384", "rs256"})
    header(std::string("alg ") + alg, [&](json& h) { h["alg"] = alg; });
  header("alg missing", [](json& h) { h.erase("alg"); });
  header("jwk", [&](json& h) { h["jwk"] = RsaJwk(rsa_.get(), "rsa"); });
  for (const char* name : {"jku", "x5u"}) header(name, [&](json& h) { h[name] = issuer_name_ + "/jwks"; });
  header("x5c", [](json& h) { h["x5c"] = {"MII="}; });
  header("crit", [](json& h) { h["crit"] = {"exp"}; });
  header("b64", [](json& h) { h["b64"] = false; });
  for (const char* kid : {"", "../../dev/null", "rsa' OR '1'='1", "rsa; id", "RSA", "rsa "})
    header(std::string("kid ") + kid, [&](json& h) { h["kid"] = kid; });
  header("kid long", [](json& h) { h["kid"] = std::string(1 << 20, 'a'); });
  header("kid missing", [](json& h) { h.erase("kid"); });
  attacks["no signature"] = body + ".";
  attacks["null signature"] = body + "." + Base64UrlEncode(std::string(256, '\0'));
  attacks["blank secret"] = body + "." + Base64UrlEncode(HmacSha256("", body));
  attacks["truncated"] = good.substr(0, good.size() - 4);
  attacks["extra part"] = good + ".x";
  attacks["padding"] = good + "=";
  attacks["JWE"] = good + "..";
  attacks["changed"] = good.substr(0, good.find('.') + 1) +
                       Base64UrlEncode(With([](json&) {}).substr(0, 20)) + good.substr(last);
  attacks["ES256 form"] = body + "." + Base64UrlEncode(std::string(64, '\1'));
  claims("exp missing", [](json& c) { c.erase("exp"); });
  claims("exp text", [](json& c) { c["exp"] = "9999999999"; });
  claims("exp huge", [](json& c) { c["exp"] = 1e308; });
  claims("exp negative", [](json& c) { c["exp"] = -1; });
  claims("expired", [&](json& c) { c["exp"] = now_; });
  claims("nbf", [&](json& c) { c["nbf"] = now_ + 3600; });
  claims("iat", [&](json& c) { c["iat"] = now_ + 3600; });
  claims("aud", [](json& c) { c["aud"] = "other"; });
  claims("aud missing", [](json& c) { c.erase("aud"); });
  claims("aud mixed", [](json& c) { c["aud"] = {kOutsideAudience, 1}; });
  claims("own audience", [](json& c) { c["aud"] = kAudience; });
  claims("iss", [](json& c) { c["iss"] = "https://other.test"; });
  claims("own iss", [](json& c) { c["iss"] = kIssuer; });
  claims("iss slash", [&](json& c) { c["iss"] = issuer_name_ + "/"; });
  claims("iss list", [&](json& c) { c["iss"] = {issuer_name_}; });
  claims("sub missing", [](json& c) { c.erase("sub"); });
  claims("sub empty", [](json& c) { c["sub"] = ""; });
  claims("sub number", [](json& c) { c["sub"] = 7; });
  claims("sub long", [](json& c) { c["sub"] = std::string(1000, 's'); });
  for (const char* name : {"nonce", "at_hash", "c_hash"})
    claims(std::string("ID token ") + name, [&](json& c) { c[name] = "x"; });
  claims("Keycloak's refresh", [](json& c) { c["typ"] = "Refresh"; });
  const std::string twice = Claims().dump();
  const std::string doubled =
      Unsigned(Header().dump(), twice.substr(0, twice.size() - 1) + R"(,"sub":"root"})");
  attacks["claim twice"] = doubled + "." + Base64UrlEncode(RawSign(rsa_.get(), doubled));
  for (const auto& [name, token] : attacks) {
    SCOPED_TRACE(name);
    const auto identity = authorizer_->Check(RequestWith(token), kScopeInfer);
    ASSERT_FALSE(identity.has_value());
    // Not even the letters of a bearer token (RFC 6750, section 3.1: invalid_request).
    const bool malformed = name == "JWE" ? false : token.find(' ') != std::string::npos;
    EXPECT_EQ(identity.error().status, malformed ? 400 : 401);
    EXPECT_EQ(identity.error().error, malformed ? "invalid_request" : "invalid_token");
    EXPECT_EQ(StatusOf(good), 200);
  }
  EXPECT_LE(outside_->stats().loads, 200);  // unknown kids asked for keys, no more often than `retry` allows
  ExpectGood(Good());
}

}  // namespace
}  // namespace hadal
