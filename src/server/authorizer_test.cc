#include "server/authorizer.h"

#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "server/access_test_util.h"
#include "server/passwords.h"
#include "server/secrets.h"

namespace hadal {
namespace {

using namespace testing_access;

class AuthorizerTest : public AccessTest {
 protected:
  Authorizer::Denial DenialOf(const HttpRequest& request, std::string_view scope = kScopeInfer) {
    const auto identity = authorizer_->Check(request, scope);
    EXPECT_FALSE(identity.has_value());
    return identity.has_value() ? Authorizer::Denial{} : identity.error();
  }
};

TEST_F(AuthorizerTest, WithoutCredentialsThereIsNoErrorCode) {
  const Authorizer::Denial denial = DenialOf(RequestWith(""));
  EXPECT_EQ(denial.status, 401);
  EXPECT_EQ(denial.error, "");
  EXPECT_EQ(denial.www_authenticate, "Bearer realm=\"hadal\"");
  HttpRequest basic = RequestWith("");
  basic.headers.emplace_back("authorization", "Basic YTpi");
  EXPECT_EQ(DenialOf(basic).status, 401);
  basic.headers.back().second = "Bearer";
  EXPECT_EQ(DenialOf(basic).status, 401);
  ExpectGood(Good());
}

TEST_F(AuthorizerTest, SchemeIgnoresCaseAndScopesAreExact) {
  HttpRequest request = RequestWith("");
  request.headers.emplace_back("authorization", "bEARER " + Good());
  const auto identity = authorizer_->Check(request, kScopeInfer);
  ASSERT_TRUE(identity.has_value());
  EXPECT_EQ(identity->subject, "client:app");
  EXPECT_EQ(identity->client, "app");
  EXPECT_EQ(identity->scopes, std::vector<std::string>{"infer"});
  EXPECT_EQ(DenialOf(request, kScopeAdmin).status, 403);
  EXPECT_EQ(DenialOf(request, "infe").error, "insufficient_scope");
  ExpectGood(Good(), "");
}

TEST_F(AuthorizerTest, ApiKeysAreStoredHashedAndCanEnd) {
  const TokenGrant grant{.subject = "client:app", .client = "app", .scopes = "infer"};
  const std::string key = Must(issuer_->IssueApiKey(grant, now_, 0));
  const std::string ending = Must(issuer_->IssueApiKey(grant, now_, now_ + 10));
  EXPECT_EQ(key.size(), 2 + 1 + 16 + 1 + 43u);
  ExpectGood(key);
  ExpectGood(ending);
  HttpRequest request = RequestWith("");
  request.headers.emplace_back("x-api-key", key);
  EXPECT_TRUE(authorizer_->Check(request, kScopeInfer).has_value());
  EXPECT_EQ(DenialOf(request, kScopeMetrics).error, "insufficient_scope");
  request.headers.back().second = Good();
  ExpectRefused(request, 401, "invalid_token", "API key");

  now_ += 10;
  ExpectInvalid(ending, "API key is not valid");
  std::string other = key;
  other[30] = other[30] == 'A' ? 'B' : 'A';
  ExpectInvalid(other, "API key is not valid");
  other = key;
  other[5] = other[5] == '0' ? '1' : '0';
  ExpectInvalid(other, "API key is not valid");
  ExpectInvalid("hk_", "API key is not valid");
  ExpectInvalid(key + "A", "API key is not valid");
  for (const TokenRecord& record : Must(db_->ListTokens()))
    EXPECT_EQ((record.id + record.hash).find(key.substr(20)), std::string::npos)
        << "the key itself is stored";
  EXPECT_EQ(Must(db_->RevokeToken(key.substr(3, 16), now_)), 1);
  ExpectInvalid(key, "API key is not valid");
}

TEST_F(AuthorizerTest, DisabledAccountsAreOut) {
  const std::string token = Good();
  Must(db_->AddAccount({.subject = "user:eve", .secret = "", .scopes = "infer", .created = now_}));
  const std::string hers =
      Must(issuer_->Issue({.subject = "user:eve", .client = "", .scopes = "infer"}, now_)).access;
  ExpectGood(hers);
  Must(db_->SetDisabled("user:eve", true, now_));
  ExpectInvalid(hers, "revoked");
  Must(db_->SetDisabled("user:eve", false, now_));
  ExpectInvalid(hers, "revoked");
  ExpectGood(token);
}

TEST_F(AuthorizerTest, AKeyTakenAwayVerifiesNoLonger) {
  const std::string old = Good();
  Must(keys_->Rotate(JwsAlgorithm::kEs256));
  ExpectGood(old);
  std::filesystem::remove(folder_.path() / "keys" / "0001.pem");
  ExpectInvalid(old, "key is not known");
}

TEST_F(AuthorizerTest, UnreadableStateIsNotTheCallersFault) {
  const std::string good = Good();
  ASSERT_EQ(chmod((folder_.path() / "keys" / "0001.pem").c_str(), 0644), 0);
  Must(keys_->Rotate(JwsAlgorithm::kEs256));  // so that the folder is read again
  const Authorizer::Denial denial = DenialOf(RequestWith(good));
  EXPECT_EQ(denial.status, 503);
  EXPECT_EQ(denial.description.find("pem"), std::string::npos) << "no paths for strangers";
  ASSERT_EQ(chmod((folder_.path() / "keys" / "0001.pem").c_str(), 0600), 0);
  ExpectGood(good);
}

TEST_F(AuthorizerTest, KeysArePrunedWhenTheirTokensHaveExpired) {
  Must(keys_->Rotate(JwsAlgorithm::kEs256));
  EXPECT_EQ(Must(keys_->Prune(3600)), 0);
  EXPECT_EQ(Must(keys_->Prune(-10)), 1);
  EXPECT_EQ(Must(keys_->Current())->verifiers.size(), 1u);
  EXPECT_FALSE(keys_->Rotate(JwsAlgorithm::kRs256).has_value());
}

TEST_F(AuthorizerTest, ManyThreadsAtOnce) {
  const std::string good = Good();
  std::vector<std::thread> threads;
  std::atomic<int> passed = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) passed += authorizer_->Check(RequestWith(good), kScopeInfer).has_value();
    });
  }
  Must(keys_->Rotate(JwsAlgorithm::kEdDsa));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(passed, 800);
}

TEST(StateFolder, IsClosedToOthers) {
  TempFolder temp;
  const Path folder = temp.path() / "a" / "state";
  Must(OpenStateFolder(folder));
  struct stat info;
  ASSERT_EQ(stat(folder.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
  Must(OpenStateFolder(folder));  // empty: closed again
  Must(WriteStateFile(folder / "x", "secret"));
  EXPECT_EQ(Must(ReadSecretFile(folder / "x")), "secret");
  ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
  const Status refused = OpenStateFolder(folder);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("chmod 700"), std::string::npos);
  ASSERT_EQ(chmod((folder / "x").c_str(), 0640), 0);
  EXPECT_FALSE(ReadSecretFile(folder / "x").has_value());
}

TEST(Passwords, Argon2idOnly) {
  const std::string hash = Must(HashPassword(Secret("a long password"), {1, 8 << 20}));
  EXPECT_TRUE(hash.starts_with("$argon2id$"));
  EXPECT_TRUE(VerifyPassword(hash, Secret("a long password")));
  EXPECT_FALSE(VerifyPassword(hash, Secret("a long passwor")));
  for (const char* bad : {"", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "a long password"})
    EXPECT_FALSE(VerifyPassword(bad, Secret("a long password"))) << bad;
  EXPECT_FALSE(VerifyPassword("$argon2id$" + std::string(500, 'x'), Secret("a")));
  EXPECT_FALSE(CheckPassword(Secret("short")).has_value());
  EXPECT_FALSE(CheckPassword(Secret(std::string(2000, 'x'))).has_value());
}

TEST(Secrets, CompareAndScopes) {
  EXPECT_TRUE(EqualInConstantTime("abc", "abc"));
  EXPECT_FALSE(EqualInConstantTime("abc", "abd"));
  EXPECT_FALSE(EqualInConstantTime("abc", "ab"));
  std::string text = "a secret that is longer than the small buffer";
  const char* place = text.data();
  Wipe(text);
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(std::string(place, 8), std::string(8, '\0'));
  EXPECT_EQ(Must(ParseScopes("infer admin infer")), (std::vector<std::string>{"infer", "admin"}));
  for (const char* bad : {"", " ", "infer ", " infer", "infer  admin", "Infer", "root"})
    EXPECT_FALSE(ParseScopes(bad).has_value()) << bad;
  for (const char* bad : {"", "-a", "a b", "a\n", "a/b", "a:b"})
    EXPECT_FALSE(CheckAccountName(bad).has_value()) << bad;
  EXPECT_TRUE(CheckAccountName("ann.b_c@d-1").has_value());
}

}  // namespace
}  // namespace hadal
