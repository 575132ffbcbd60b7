#include "server/denial_log.h"

#include "server/access_test_util.h"
#include "server/http_test_util.h"

namespace hadal {
namespace {

using namespace testing_access;
using namespace std::chrono_literals;

class DenialLogTest : public testing::Test {
 protected:
  DenialLogTest() : db_(Must((Must(OpenStateFolder(folder_.path())), StateDb::Open(folder_.path())))) {}

  static HttpRequest From(const std::string& peer, const std::string& target = "/v1/models") {
    HttpRequest request;
    request.method = "GET";
    request.target = target;
    request.query = "key=s3cr3t";
    request.peer = peer;
    return request;
  }
  static Authorizer::Denial Denial(int status, const std::string& error) {
    return {status, "", error, "why"};
  }

  TempFolder folder_;
  std::unique_ptr<StateDb> db_;
};

TEST_F(DenialLogTest, CountsKindsAndWritesOneRecordOfEach) {
  DenialLog log(
      *db_, [] { return int64_t{1000}; }, 1h);
  for (int i = 0; i < 1000; ++i) log.Note(From("192.0.2.1"), Denial(401, "invalid_token"), "");
  log.Note(From("192.0.2.1", "/metrics"), Denial(403, "insufficient_scope"), "client:app");
  Must(log.Flush());
  const auto records = Must(db_->ListAudit(100));
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].event, "denied");
  EXPECT_EQ(records[0].peer, "192.0.2.1");
  EXPECT_EQ(records[0].detail, "401 invalid_token at /v1/models, 1000 times");
  EXPECT_EQ(records[1].actor, "client:app");
  EXPECT_EQ(records[1].detail, "403 insufficient_scope at /metrics, 1 time");
  Must(log.Flush());
  EXPECT_EQ(Must(db_->ListAudit(100)).size(), 2u);
}

TEST_F(DenialLogTest, AFloodFromManyPlacesTakesFewRecordsAndLosesNoCount) {
  {
    DenialLog log(
        *db_, [] { return int64_t{1000}; }, 1h);
    for (int i = 0; i < 100'000; ++i) log.Note(From(fmt::format("2001:db8::{:x}", i)), Denial(401, ""), "");
  }  // what was counted is written at the end
  const auto records = Must(db_->ListAudit(1000));
  ASSERT_EQ(records.size(), DenialLog::kMaxKinds + 1);
  EXPECT_EQ(records[0].detail, fmt::format("other refusals, {} times", 100'000 - DenialLog::kMaxKinds));
  EXPECT_EQ(records[0].peer, "many");
}

TEST_F(DenialLogTest, WhatCannotBeWrittenIsKept) {
  DenialLog log(
      *db_, [] { return int64_t{1000}; }, 1h);
  log.Note(From("192.0.2.1"), Denial(401, "invalid_token"), "");
  auto other = Must(Database::Open(folder_.path() / "hadal.db"));
  Must(other.Execute("DROP TABLE audit"));
  EXPECT_FALSE(log.Flush());
  log.Note(From("192.0.2.1"), Denial(401, "invalid_token"), "");
  Must(other.Execute(
      "CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER, event TEXT, actor TEXT, "
      "peer TEXT, detail TEXT)"));
  Must(log.Flush());
  const auto records = Must(db_->ListAudit(10));
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].detail, "401 invalid_token at /v1/models, 2 times");
}

TEST_F(DenialLogTest, StrangersRecordsDoNotPushOutTheOthers) {
  db_->KeepStrangerRecords(10);
  Must(db_->Audit({1, "user_added", "uid:0", "local", "user:alice"}));
  for (int i = 0; i < 600; ++i) Must(db_->Audit({2, "denied", "", "192.0.2.1", "401"}));
  EXPECT_EQ(Must(db_->ListAudit(1000, "user_added")).size(), 1u);
  EXPECT_LE(Must(db_->ListAudit(1000, "denied")).size(), 10u + 256u);
  EXPECT_EQ(Must(db_->ListAudit(3, "denied")).size(), 3u);
}

class AuthorizerDenials : public AccessTest {};

TEST_F(AuthorizerDenials, AreToldWithTheSubjectThatHadTooFewScopes) {
  std::vector<std::string> told;
  AuthorizerOptions options{kIssuer, kAudience, [this] { return now_; }};
  options.on_denied = [&](const HttpRequest&, const Authorizer::Denial& denial, const std::string& subject) {
    told.push_back(fmt::format("{} {} {}", denial.status, denial.error, subject));
  };
  TokenAuthorizer authorizer(std::move(options), *keys_, *db_, {});
  EXPECT_TRUE(authorizer.Check(RequestWith(Good()), kScopeInfer));
  EXPECT_FALSE(authorizer.Check(RequestWith(""), kScopeInfer));
  EXPECT_FALSE(authorizer.Check(RequestWith("nonsense"), kScopeInfer));
  EXPECT_FALSE(authorizer.Check(RequestWith(Good()), kScopeAdmin));
  EXPECT_EQ(told,
            (std::vector<std::string>{"401  ", "401 invalid_token ", "403 insufficient_scope client:app"}));
}

}  // namespace
}  // namespace hadal
