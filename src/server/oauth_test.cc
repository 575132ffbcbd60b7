#include "server/oauth.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <thread>

#include "server/access.h"
#include "server/access_test_util.h"

namespace hadal {
namespace {

using namespace testing_access;

constexpr PasswordCost kQuick{1, 8 << 20};  // as little as argon2id is of use with
constexpr const char* kPassword = "correct horse battery";

/// Keeps what is sent.
class FakeWriter : public ResponseWriter {
 public:
  void Send(int status, HttpHeaders headers, std::string body) override {
    const std::lock_guard lock(mutex_);
    answer_ = {status, std::move(headers), std::move(body)};
    sent_ = true;
    changed_.notify_all();
  }
  void StartStream(int, HttpHeaders) override {}
  bool Write(std::string) override { return false; }
  void EndStream() override {}
  void OnDisconnect(std::function<void()>) override {}

  OAuthAnswer Wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(10), [this] { return sent_; }));
    return answer_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  OAuthAnswer answer_;
  bool sent_ = false;
};

class OAuthTest : public AccessTest {
 protected:
  void SetUp() override {
    AccessTest::SetUp();
    Must(db_->AddAccount({.subject = "user:ann",
                          .secret = Must(HashPassword(Secret(kPassword), kQuick)),
                          .scopes = "infer metrics",
                          .created = now_}));
    Must(db_->AddAccount(
        {.subject = "client:robot", .secret = Sha256("robots-secret"), .scopes = "infer", .created = now_}));
    MakeService({});
  }

  void MakeService(ThrottleOptions throttle) {
    service_ = std::make_unique<OAuthService>(OAuthOptions{throttle, kQuick, 64, [this] { return now_; }},
                                              *issuer_, *keys_, *db_);
  }

  static HttpRequest Post(const std::string& body) {
    HttpRequest request;
    request.method = "POST";
    request.target = "/token";
    request.peer = "192.0.2.7";
    request.headers = {{"content-type", "application/x-www-form-urlencoded"}};
    request.body = body;
    return request;
  }
  OAuthAnswer Ask(const std::string& body) { return service_->Token(Post(body)); }
  OAuthAnswer Login(const std::string& user, const std::string& password, const std::string& more = "") {
    return Ask("grant_type=password&username=" + user + "&password=" + password + more);
  }
  static std::string Basic(const std::string& pair) {
    std::string text = Base64UrlEncode(pair);
    for (char& c : text) c = c == '-' ? '+' : c == '_' ? '/' : c;
    while (text.size() % 4 != 0) text += '=';
    return "Basic " + text;
  }

  /// The answer is this refusal, tells nothing, and a good request passes afterwards.
  void ExpectRefused(const OAuthAnswer& answer, int status, const std::string& error) {
    EXPECT_EQ(answer.status, status) << answer.body;
    const json body = json::parse(answer.body, nullptr, false);
    EXPECT_EQ(body.value("error", ""), error) << answer.body;
    EXPECT_EQ(answer.body.find("horse"), std::string::npos);
    ExpectNotStored(answer);
    EXPECT_EQ(Ask("grant_type=client_credentials&client_id=robot&client_secret=robots-secret").status, 200);
  }
  static void ExpectNotStored(const OAuthAnswer& answer) {
    bool found = false;
    for (const auto& [name, value] : answer.headers)
      found = found || (name == "cache-control" && value == "no-store");
    EXPECT_TRUE(found);
  }
  static std::string HeaderIn(const OAuthAnswer& answer, const std::string& name) {
    for (const auto& [key, value] : answer.headers)
      if (key == name) return value;
    return "";
  }

  std::unique_ptr<OAuthService> service_;
};

const std::string kGoodPassword = "correct+horse%20battery";

TEST_F(OAuthTest, PasswordGrantGivesTokensThatOpenRoutes) {
  const OAuthAnswer answer = Login("ann", kGoodPassword);
  ASSERT_EQ(answer.status, 200) << answer.body;
  ExpectNotStored(answer);
  const json body = json::parse(answer.body);
  EXPECT_EQ(body["token_type"], "Bearer");
  EXPECT_EQ(body["expires_in"], 900);
  EXPECT_EQ(body["scope"], "infer metrics");
  const auto identity = authorizer_->Check(RequestWith(body["access_token"]), kScopeMetrics);
  ASSERT_TRUE(identity.has_value());
  EXPECT_EQ(identity->subject, "user:ann");
  EXPECT_EQ(identity->client, "");
  const auto denied = authorizer_->Check(RequestWith(body["access_token"]), kScopeAdmin);
  ASSERT_FALSE(denied.has_value());
  EXPECT_EQ(denied.error().status, 403);
  EXPECT_EQ(denied.error().error, "insufficient_scope");
  EXPECT_NE(denied.error().www_authenticate.find("scope=\"admin\""), std::string::npos);
  // Fewer scopes on demand, never more.
  EXPECT_EQ(json::parse(Login("ann", kGoodPassword, "&scope=infer").body)["scope"], "infer");
  ExpectRefused(Login("ann", kGoodPassword, "&scope=admin"), 400, "invalid_scope");
  ExpectRefused(Login("ann", kGoodPassword, "&scope=infer++metrics"), 400, "invalid_scope");
}

TEST_F(OAuthTest, WrongPasswordAndUnknownUserLookTheSame) {
  const OAuthAnswer wrong = Login("ann", "wrong"), unknown = Login("bob", "wrong");
  ExpectRefused(wrong, 400, "invalid_grant");
  ExpectRefused(unknown, 400, "invalid_grant");
  EXPECT_EQ(wrong.body, unknown.body);
  Must(db_->SetDisabled("user:ann", true, now_));
  EXPECT_EQ(Login("ann", kGoodPassword).body, wrong.body);
  // The password of the hash that stands in for unknown users opens nothing.
  ExpectRefused(Login("bob", "no+user+has+this+password"), 400, "invalid_grant");
}

TEST_F(OAuthTest, ClientsProveThemselvesByHeaderOrBody) {
  HttpRequest request = Post("grant_type=client_credentials");
  request.headers.emplace_back("authorization", Basic("robot:robots-secret"));
  const OAuthAnswer answer = service_->Token(request);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_FALSE(json::parse(answer.body).contains("refresh_token"));
  ExpectGood(json::parse(answer.body)["access_token"]);

  request.headers.back().second = Basic("robot:wrong");
  const OAuthAnswer refused = service_->Token(request);
  ExpectRefused(refused, 401, "invalid_client");
  EXPECT_TRUE(HeaderIn(refused, "www-authenticate").starts_with("Basic"));
  request.headers.back().second = Basic("robot:robots-secret");
  request.body += "&client_secret=robots-secret";
  ExpectRefused(service_->Token(request), 400, "invalid_request");  // twice
  ExpectRefused(Ask("grant_type=client_credentials"), 401, "invalid_client");
  ExpectRefused(Ask("grant_type=client_credentials&client_id=robot"), 401, "invalid_client");
  ExpectRefused(Ask("grant_type=client_credentials&client_id=nobody&client_secret=x"), 401, "invalid_client");
  // A client without a secret cannot prove itself by an empty one.
  ExpectRefused(Ask("grant_type=client_credentials&client_id=app"), 401, "invalid_client");
  ExpectRefused(Ask("grant_type=client_credentials&client_id=app&client_secret=x"), 401, "invalid_client");
  ExpectRefused(Ask("grant_type=client_credentials&client_id=robot&client_secret=robots-secret&scope=admin"),
                400, "invalid_scope");
}

TEST_F(OAuthTest, MalformedRequestsAreRefused) {
  ExpectRefused(Ask(""), 400, "invalid_request");
  ExpectRefused(Ask("grant_type=authorization_code"), 400, "unsupported_grant_type");
  ExpectRefused(Ask("grant_type=password&username=ann"), 400, "invalid_request");
  ExpectRefused(Ask("grant_type=password&grant_type=password"), 400, "invalid_request");
  ExpectRefused(Ask("grant_type=password&username=%zz&password=x"), 400, "invalid_request");
  ExpectRefused(Ask("grant_type=password&username=a%00b&password=x"), 400, "invalid_request");
  ExpectRefused(Ask("grant_type=password&x=" + std::string(kMaxFormBytes, 'x')), 400, "invalid_request");
  HttpRequest json_body = Post(R"({"grant_type":"password"})");
  json_body.headers = {{"content-type", "application/json"}};
  ExpectRefused(service_->Token(json_body), 400, "invalid_request");
  HttpRequest query = Post("grant_type=password");
  query.query = "username=ann&password=correct+horse+battery";
  ExpectRefused(service_->Token(query), 400, "invalid_request");
  HttpRequest bearer = Post("grant_type=client_credentials");
  bearer.headers.emplace_back("authorization", "Bearer x");
  ExpectRefused(service_->Token(bearer), 400, "invalid_request");
  bearer.headers.back().second = "Basic !!!";
  ExpectRefused(service_->Token(bearer), 400, "invalid_request");
}

TEST_F(OAuthTest, RefreshTokensWorkOnceAndReuseRevokesTheLogin) {
  const json login = json::parse(Login("ann", kGoodPassword).body);
  const std::string first = login["refresh_token"];
  now_ += 1000;  // the access token has expired
  const OAuthAnswer answer = Ask("grant_type=refresh_token&scope=infer&refresh_token=" + first);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json next = json::parse(answer.body);
  EXPECT_NE(next["refresh_token"], first);
  EXPECT_EQ(next["scope"], "infer");
  ExpectGood(next["access_token"]);
  // A thief comes with the first: all of this login ends.
  ExpectRefused(Ask("grant_type=refresh_token&refresh_token=" + first), 400, "invalid_grant");
  EXPECT_FALSE(authorizer_->Check(RequestWith(next["access_token"]), kScopeInfer).has_value());
  ExpectRefused(Ask("grant_type=refresh_token&refresh_token=" + next["refresh_token"].get<std::string>()),
                400, "invalid_grant");
}

TEST_F(OAuthTest, RefreshTokensEndAndBelongToTheirClient) {
  const std::string token = json::parse(Login("ann", kGoodPassword, "&client_id=app").body)["refresh_token"];
  const std::string ask = "grant_type=refresh_token&refresh_token=" + token;
  ExpectRefused(Ask(ask), 400, "invalid_grant");
  ExpectRefused(Ask(ask + "&client_id=robot&client_secret=robots-secret"), 400, "invalid_grant");
  ExpectRefused(Ask(ask + "&client_id=app&scope=admin"), 400, "invalid_scope");
  ExpectRefused(Ask("grant_type=refresh_token&refresh_token=hr_0"), 400, "invalid_grant");
  std::string altered = ask;
  altered.back() = altered.back() == 'A' ? 'E' : 'A';
  ExpectRefused(Ask(altered + "&client_id=app"), 400, "invalid_grant");
  now_ += 86400;
  ExpectRefused(Ask(ask + "&client_id=app"), 400, "invalid_grant");
  now_ -= 1;
  EXPECT_EQ(Ask(ask + "&client_id=app").status, 200);
  // A new password ends what the old one opened.
  const json login = json::parse(Login("ann", kGoodPassword).body);
  Must(db_->SetSecret("user:ann", Must(HashPassword(Secret("another password"), kQuick)), now_));
  ExpectRefused(Ask("grant_type=refresh_token&refresh_token=" + login["refresh_token"].get<std::string>()),
                400, "invalid_grant");
  EXPECT_FALSE(authorizer_->Check(RequestWith(login["access_token"]), kScopeInfer).has_value());
}

TEST_F(OAuthTest, GuessersWaitAndTheOwnerDoesNot) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Login("ann", "guess").status, 400) << i;
  const OAuthAnswer throttled = Login("ann", kGoodPassword);
  EXPECT_EQ(throttled.status, 429);
  EXPECT_EQ(HeaderIn(throttled, "retry-after"), "1");
  HttpRequest elsewhere = Post("grant_type=password&username=ann&password=" + kGoodPassword);
  elsewhere.peer = "198.51.100.1";
  EXPECT_EQ(service_->Token(elsewhere).status, 200);
  now_ += 1;
  EXPECT_EQ(Login("ann", "guess").status, 400);
  EXPECT_EQ(HeaderIn(Login("ann", "guess"), "retry-after"), "2") << "each failure doubles the wait";
  now_ += 2;
  EXPECT_EQ(Login("ann", kGoodPassword).status, 200);
  EXPECT_EQ(Login("ann", "guess").status, 400) << "a success forgets";
  ExpectRefused(Login("bob", "x"), 400, "invalid_grant");
}

TEST_F(OAuthTest, UnknownClientsCannotFillTheAuditLog) {
  int refused = 0, throttled = 0;
  for (int i = 0; i < 200; ++i) {
    const int status = Ask("grant_type=refresh_token&refresh_token=x&client_id=c" + std::to_string(i)).status;
    refused += status == 401;
    throttled += status == 429;
  }
  EXPECT_EQ(refused, 50);
  EXPECT_EQ(throttled, 150);
  EXPECT_EQ(Must(db_->ListAudit(1000)).size(), 50u);
}

TEST(LoginThrottle, BoundedAndByNetwork) {
  LoginThrottle throttle({.max_entries = 100});
  for (int i = 0; i < 10000; ++i)
    throttle.Begin(std::to_string(i), "192.0.2." + std::to_string(i % 250), 1000);
  EXPECT_LE(throttle.entries(), 100u);
  LoginThrottle by_address;
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(by_address.Begin(std::to_string(i), "2001:db8::" + std::to_string(i), 1000), 0);
  EXPECT_GT(by_address.Begin("new", "2001:db8::ffff", 1000), 0) << "one /64 is one guesser";
  EXPECT_EQ(by_address.Begin("new", "2001:db8:0:1::1", 1000), 0);
  EXPECT_EQ(AddressKey("::ffff:192.0.2.1"), AddressKey("192.0.2.1"));
  LoginThrottle forever;
  for (int64_t i = 0, now = 0; i < 200; ++i, now += 900)
    EXPECT_EQ(forever.Begin("x", "192.0.2.1", now), 0) << i;
}

TEST_F(OAuthTest, RoutesPublishKeysAndMetadata) {
  const std::vector<Route> routes = service_->Routes();
  ASSERT_EQ(routes.size(), 3u);
  const auto ask = [&](size_t i, HttpRequest request) {
    const auto writer = std::make_shared<FakeWriter>();
    routes[i].handler(request, writer);
    return writer->Wait();
  };
  EXPECT_EQ(routes[0].path, "/token");
  EXPECT_EQ(ask(0, Post("grant_type=password&username=ann&password=" + kGoodPassword)).status, 200);
  Must(keys_->Rotate(JwsAlgorithm::kEdDsa));
  const OAuthAnswer keys = ask(1, {});
  EXPECT_EQ(routes[1].path, "/.well-known/jwks.json");
  EXPECT_EQ(Must(ParseJwkSet(keys.body)).size(), 2u);
  EXPECT_EQ(keys.body.find("\"d\""), std::string::npos);
  HttpRequest request;
  request.headers = {{"host", "evil.test"}};
  const json metadata = json::parse(ask(2, std::move(request)).body);
  EXPECT_EQ(metadata["issuer"], kIssuer);
  EXPECT_EQ(metadata["token_endpoint"], "https://hadal.test/token");
  EXPECT_EQ(metadata["jwks_uri"], "https://hadal.test/.well-known/jwks.json");
}

TEST_F(OAuthTest, AFullQueueAnswersAtOnce) {
  service_ = std::make_unique<OAuthService>(OAuthOptions{{}, kQuick, 1, [this] { return now_; }}, *issuer_,
                                            *keys_, *db_);
  const Route route = service_->Routes()[0];
  std::vector<std::shared_ptr<FakeWriter>> writers;
  for (int i = 0; i < 20; ++i) {
    writers.push_back(std::make_shared<FakeWriter>());
    HttpRequest login = Post("grant_type=password&username=x&password=y");
    route.handler(login, writers.back());
  }
  int busy = 0;
  for (const auto& writer : writers) {
    const OAuthAnswer answer = writer->Wait();
    if (answer.status != 503) continue;
    ++busy;
    EXPECT_NE(answer.body.find(R"("error":"temporarily_unavailable")"), std::string::npos) << answer.body;
  }
  EXPECT_GT(busy, 10);
}

TEST_F(OAuthTest, AnExceptionEndsItsRequestOnly) {
  std::atomic<bool> broken = true;
  service_ = std::make_unique<OAuthService>(OAuthOptions{{}, kQuick, 8, [this, &broken] {
                                              if (broken.exchange(false)) throw std::bad_alloc();
                                              return now_;
                                            }},
                                            *issuer_, *keys_, *db_);
  const Route route = service_->Routes()[0];
  HttpRequest login = Post("grant_type=password&username=ann&password=wrong"),
              again = Post("grant_type=password&username=ann&password=wrong");
  auto failed = std::make_shared<FakeWriter>();
  const std::weak_ptr<FakeWriter> let_go = failed;
  route.handler(login, std::move(failed));
  const auto next = std::make_shared<FakeWriter>();
  route.handler(again, next);
  EXPECT_EQ(next->Wait().status, 400);
  EXPECT_TRUE(let_go.expired()) << "a writer that is let go answers 500";
}

TEST_F(OAuthTest, AuditTellsWhoAndNeverASecret) {
  Login("ann", "wrong-guess");
  Login("ann", kGoodPassword);
  Login("a%0a%1b", "x");
  Login("%3Cscript%3E", "x");
  std::string all;
  for (const AuditRecord& record : Must(db_->ListAudit(100)))
    all += record.event + "|" + record.actor + "|" + record.peer + "|" + record.detail + "\n";
  EXPECT_NE(all.find("login_refused|user:ann|192.0.2.7"), std::string::npos) << all;
  EXPECT_NE(all.find("token_issued|user:ann|192.0.2.7"), std::string::npos) << all;
  for (const char* secret : {"wrong-guess", "horse", "script", "eyJ", "hr_"})
    EXPECT_EQ(all.find(secret), std::string::npos) << secret;
}

TEST(Access, OpensEverythingAndRemembersItsName) {
  TempFolder temp;
  const Path state = temp.path() / "state";
  {
    const auto access =
        Must(Access::Open({.state = state, .issuer = "https://models.example", .password_cost = kQuick}));
    EXPECT_EQ(access->Routes().size(), 3u);
  }
  const AccessState cli = Must(OpenAccessState(state));
  EXPECT_EQ(cli.issuer->options().issuer, "https://models.example");
  const std::string token =
      Must(cli.issuer->Issue({.subject = "client:c", .client = "c", .scopes = "infer"}, UnixSeconds()))
          .access;
  const auto access = Must(Access::Open({.state = state, .password_cost = kQuick}));
  EXPECT_FALSE(access->authorizer().Check(RequestWith(token), kScopeInfer).has_value()) << "no such account";
  Must(cli.db->AddAccount({.subject = "client:c", .scopes = "infer", .created = UnixSeconds()}));
  EXPECT_TRUE(access->authorizer().Check(RequestWith(token), kScopeInfer).has_value());
  // What the command line does is seen at once.
  Must(cli.db->SetDisabled("client:c", true, UnixSeconds()));
  EXPECT_FALSE(access->authorizer().Check(RequestWith(token), kScopeInfer).has_value());
  std::error_code ignored;
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(state).permissions(), perms::owner_all);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(state)) {
    if (entry.is_regular_file())
      EXPECT_EQ(entry.status().permissions() & (perms::group_all | perms::others_all), perms::none)
          << entry.path();
  }
}

}  // namespace
}  // namespace hadal
