// The published examples of JWS, EdDSA in JOSE and JWT, as far as their algorithms are taken here.
#include "server/jwt.h"

#include <gtest/gtest.h>

#include "server/access_test_util.h"
#include "server/strict_json.h"

namespace hadal {
namespace {

using namespace testing_access;

VerifyKey KeyOf(json jwk) {
  jwk["kid"] = "k";
  const KeySet set = Must(ParseJwkSet(json{{"keys", {jwk}}}.dump()));
  return *set.Find("k");
}

/// Whether the compact token's signature is one by the key.
bool Verifies(const VerifyKey& key, const std::string& token) {
  const size_t last = token.rfind('.');
  return VerifySignature(key, token.substr(0, last), *Base64UrlDecode(token.substr(last + 1)));
}

/// The same with one bit of each part flipped.
void ExpectOnlyThis(const VerifyKey& key, const std::string& token) {
  EXPECT_TRUE(Verifies(key, token));
  const size_t last = token.rfind('.');
  std::string text = token;
  text[3] ^= 1;
  EXPECT_FALSE(Verifies(key, text));
  std::string signature = *Base64UrlDecode(token.substr(last + 1));
  for (const size_t at : {size_t{0}, signature.size() / 2, signature.size() - 1}) {
    std::string other = signature;
    other[at] ^= 1;
    EXPECT_FALSE(VerifySignature(key, token.substr(0, last), other));
  }
}

// The claims of RFC 7515, appendix A, and RFC 7519, section 3.1.
const std::string kJoe =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

TEST(JwtVectors, Rfc7515A3Es256) {
  const VerifyKey key = KeyOf({{"kty", "EC"},
                               {"crv", "P-256"},
                               {"x", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"},
                               {"y", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}});
  ExpectOnlyThis(key, "eyJhbGciOiJFUzI1NiJ9." + kJoe +
                          ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-"
                          "Kg6NU1Q");
}

TEST(JwtVectors, Rfc7515A2Rs256) {
  const VerifyKey key =
      KeyOf({{"kty", "RSA"},
             {"n",
              "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-"
              "4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-"
              "SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
              "bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
              "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
              "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
             {"e", "AQAB"}});
  ExpectOnlyThis(key,
                 "eyJhbGciOiJSUzI1NiJ9." + kJoe +
                     ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_"
                     "lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
                     "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--"
                     "xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5A"
                     "XLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw");
}

TEST(JwtVectors, Rfc8037A4Ed25519) {
  const VerifyKey key =
      KeyOf({{"kty", "OKP"}, {"crv", "Ed25519"}, {"x", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}});
  ExpectOnlyThis(key,
                 "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
                 "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
  // RFC 8037, appendix A.3.
  EXPECT_EQ(JwkThumbprint(key.key.get(), JwsAlgorithm::kEdDsa),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

TEST(JwtVectors, Rfc7519ExamplesOfWeakKindsAreRefused) {
  EXPECT_FALSE(ParseJwt("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + kJoe +
                        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
                   .has_value());
  EXPECT_FALSE(ParseJwt("eyJhbGciOiJub25lIn0." + kJoe + ".").has_value());
}

TEST(Base64Url, OneTextForOneValue) {
  for (size_t size = 0; size < 70; ++size) {
    std::string bytes;
    for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 37 + size);
    const std::string text = Base64UrlEncode(bytes);
    EXPECT_EQ(Base64UrlDecode(text), bytes);
    EXPECT_FALSE(Base64UrlDecode(text + "=").has_value());
    EXPECT_FALSE(Base64UrlDecode(text + " ").has_value());
    EXPECT_FALSE(Base64UrlDecode(text + "+").has_value());
  }
  EXPECT_EQ(Base64UrlEncode("\xfb\xff"), "-_8");
  EXPECT_FALSE(Base64UrlDecode("-_9").has_value()) << "bits that are not zero";
  EXPECT_FALSE(Base64UrlDecode("A").has_value());
  EXPECT_EQ(Base64Decode("dXNlcjpwYXNz"), "user:pass");
  EXPECT_EQ(Base64Decode("YQ=="), "a");
  for (const char* bad : {"YQ", "YQ=", "YR==", "Y===", "====", "YQ==YQ==", "-_8="})
    EXPECT_FALSE(Base64Decode(bad).has_value()) << bad;
}

TEST(StrictJson, RefusesWhatTwoReadersReadDifferently) {
  EXPECT_TRUE(ParseStrictObject(R"({"a": {"b": 1}, "b": [1, {"b": 2}]})").has_value());
  for (const char* bad :
       {R"({"a":1,"a":1})", R"({"a":{"b":1,"b":2}})", R"({"a":1,"\u0061":2})", "\xEF\xBB\xBF{}", "{} x", "[]",
        "1", "", "{\"a\":1e999}", "{\"a\":\"\xff\"}", "{\"a\":NaN}", "{'a':1}", "{\"a\":1,}",
        "{\"a\":\"\\ud800\"}", "[[[[[[[[[[[[]]]]]]]]]]]]"})
    EXPECT_FALSE(ParseStrictObject(bad).has_value()) << bad;
  EXPECT_FALSE(ParseStrictObject(std::string(1 << 20, '[')).has_value());
  const auto read = ParseStrictObject(R"({"a":[1,[2,{"b":[3]}],4],"c":{"d":{}}})");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->dump(), R"({"a":[1,[2,{"b":[3]}],4],"c":{"d":{}}})");
}

class JwtTimes : public AccessTest {};

TEST_F(JwtTimes, TokensEndToTheSecond) {
  const std::string token = Good();
  now_ += 899;
  ExpectGood(token);
  now_ += 1;
  const auto identity = authorizer_->Check(RequestWith(token), kScopeInfer);
  ASSERT_FALSE(identity.has_value());
  EXPECT_EQ(identity.error().www_authenticate,
            "Bearer realm=\"hadal\", error=\"invalid_token\", error_description=\"the token has expired\"");
}

}  // namespace
}  // namespace hadal
