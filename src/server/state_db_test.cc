#include "server/state_db.h"

#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "server/access_test_util.h"
#include "server/quota.h"

namespace hadal {
namespace {

using namespace testing_access;

TEST(StateDb, KilledInTheMiddleOfWritingItStaysWhole) {
  TempFolder temp;
  { Must(StateDb::Open(temp.path())); }
  int64_t known = 0;
  for (int round = 0; round < 8; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto db = Must(StateDb::Open(temp.path()));
      for (int64_t i = 0; i < 100000; ++i) {
        const std::string id = fmt::format("{}-{}", round, i);
        Must(db->AddTokens({{.id = id, .subject = "a", .family = id, .issued = 1},
                            {.id = id + "r", .subject = "a", .family = id, .issued = 1}}));
        // Told only once it is on the disk.
        if (write(pipe_ends[1], "x", 1) != 1) _exit(1);
      }
      _exit(0);
    }
    close(pipe_ends[1]);
    char told;
    for (int i = 0; i < 10 + round * 7; ++i) ASSERT_EQ(read(pipe_ends[0], &told, 1), 1);
    kill(child, SIGKILL);
    int64_t more = 10 + round * 7;
    while (read(pipe_ends[0], &told, 1) == 1) ++more;
    close(pipe_ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    known += more;

    const auto db = Must(StateDb::Open(temp.path()));
    const int64_t records = static_cast<int64_t>(Must(db->ListTokens()).size());
    EXPECT_EQ(records % 2, 0) << "half of a pair";
    EXPECT_GE(records, 2 * known) << "a record that was reported is gone";
    EXPECT_LE(records, 2 * (known + round + 1)) << "more than the one that was under way";
    Must(db->SetSetting("good", "afterwards"));
    EXPECT_EQ(Must(db->Setting("good")), "afterwards");
    known = records / 2;
  }
}

TEST(StateDb, RefusesDamagedAndNewerFiles) {
  TempFolder temp;
  {
    Database db = Must(Database::Open(temp.path() / "hadal.db"));
    Must(db.Execute("PRAGMA user_version = 7"));
  }
  const auto newer = StateDb::Open(temp.path());
  ASSERT_FALSE(newer.has_value());
  EXPECT_EQ(newer.error().code, Code::kUnsupported);
  TempFolder other;
  Must(WriteStateFile(other.path() / "hadal.db", std::string(8192, 'x')));
  const auto damaged = StateDb::Open(other.path());
  ASSERT_FALSE(damaged.has_value());
  EXPECT_EQ(damaged.error().code, Code::kDataLoss);
}

TEST(StateDb, NamesAreValuesWhateverTheySay) {
  TempFolder temp;
  const auto db = Must(StateDb::Open(temp.path()));
  const std::string name = "user:x'; DROP TABLE accounts; --";
  Must(db->AddAccount({.subject = name, .secret = "s", .scopes = "infer", .created = 5}));
  EXPECT_EQ(Must(db->FindAccount(name)).secret, "s");
  EXPECT_EQ(Must(db->ListAccounts("user:")).size(), 1u);
  EXPECT_EQ(Must(db->ListAccounts("%")).size(), 0u);
  EXPECT_EQ(db->AddAccount({.subject = name}).error().code, Code::kFailedPrecondition);
  EXPECT_EQ(db->FindAccount("user:y").error().code, Code::kNotFound);
  EXPECT_EQ(db->SetDisabled("user:y", true, 1).error().code, Code::kNotFound);
  // A name with a zero byte is another name.
  EXPECT_FALSE(db->FindAccount(std::string_view("user:x\0y", 8)).has_value());
}

TEST(StateDb, TwoProcessesMakeItTogether) {
  TempFolder temp;
  std::vector<std::thread> threads;
  std::atomic<int> opened = 0;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      const auto db = StateDb::Open(temp.path());
      if (db && (*db)->Audit({1, "e", "a", "p", "d"})) ++opened;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(opened, 6);
  EXPECT_EQ(Must(Must(StateDb::Open(temp.path()))->ListAudit(100)).size(), 6u);
}

TEST(StateDb, ExpiredTokensGo) {
  TempFolder temp;
  const auto db = Must(StateDb::Open(temp.path()));
  Must(db->AddTokens(
      {{.id = "old", .issued = 1000, .expires = 1900}, {.id = "key", .issued = 1000, .expires = 0}}));
  Must(db->AddTokens({{.id = "new", .issued = 1900 + 86401, .expires = 200000}}));
  const auto tokens = Must(db->ListTokens());
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].id, "key");
  EXPECT_EQ(tokens[1].id, "new");
}

class QuotaTest : public testing::Test {
 protected:
  QuotaTest() : db_(Must(StateDb::Open(temp_.path()))) {
    Must(db_->SetQuota(
        "client:app",
        {.requests_per_minute = 3, .requests_per_day = 5, .tokens_per_minute = 100, .tokens_per_day = 150}));
    MakeQuotas();
  }
  void MakeQuotas() {
    quotas_ = std::make_unique<Quotas>(*db_, [this] { return now_.load(); });
  }
  TempFolder temp_;
  std::unique_ptr<StateDb> db_;
  std::atomic<int64_t> now_ = 86400 * 1000 + 30;
  std::unique_ptr<Quotas> quotas_;
  const Identity app_{"client:app", "app", {}};
};

TEST_F(QuotaTest, MinutesAndDays) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(quotas_->Charge(app_, 1, 10).has_value());
  int64_t wait = 0;
  const Status refused = quotas_->Charge(app_, 1, 0, &wait);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("3 requests a minute"), std::string::npos)
      << refused.error().message;
  EXPECT_EQ(wait, 30);
  EXPECT_TRUE(quotas_->Charge(app_, 0, 70).has_value()) << "to the last token";
  EXPECT_FALSE(quotas_->Charge(app_, 0, 1).has_value());
  now_ += 30;
  EXPECT_TRUE(quotas_->Charge(app_, 1, 40).has_value());
  EXPECT_FALSE(quotas_->Charge(app_, 1, 11, &wait).has_value()) << "150 tokens a day";
  EXPECT_EQ(wait, 86400 - 60);
  EXPECT_TRUE(quotas_->Charge(app_, 1, 0).has_value());
  EXPECT_FALSE(quotas_->Charge(app_, 1, 0).has_value()) << "5 requests a day";
  now_ += 86400;
  EXPECT_TRUE(quotas_->Charge(app_, 1, 100).has_value());
  EXPECT_FALSE(quotas_->Charge(app_, INT64_MAX, INT64_MAX).has_value()) << "sums must not overflow";
  EXPECT_FALSE(quotas_->Charge(app_, -1, 0).has_value());
}

TEST_F(QuotaTest, WhereNoTokenIsLeftNoRequestIsLetIn) {
  quotas_->Record(app_, 99);
  EXPECT_TRUE(quotas_->Charge(app_, 1, 0).has_value()) << "one is left";
  quotas_->Record(app_, 1);  // its cost is known when it has run
  int64_t wait = 0;
  const Status refused = quotas_->Charge(app_, 1, 0, &wait);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("100 tokens a minute"), std::string::npos) << refused.error().message;
  EXPECT_EQ(wait, 30);
  now_ += 30;
  quotas_->Record(app_, 1000);  // n choices may pass the limit; the next request waits for the next window
  EXPECT_FALSE(quotas_->Charge(app_, 1, 0, &wait).has_value());
  EXPECT_EQ(wait, 86400 - 60);
}

TEST_F(QuotaTest, CountsOutlastARestart) {
  EXPECT_TRUE(quotas_->Charge(app_, 3, 90).has_value());
  quotas_->Record(app_, 50);  // more than allowed, but it has happened
  quotas_.reset();
  MakeQuotas();
  EXPECT_FALSE(quotas_->Charge(app_, 1, 0).has_value());
  now_ += 60;
  EXPECT_TRUE(quotas_->Charge(app_, 1, 0).has_value());
  EXPECT_FALSE(quotas_->Charge(app_, 0, 11).has_value());
}

TEST_F(QuotaTest, LimitsChangeAndOthersAreFree) {
  const Identity other{"user:ann", "", {}};
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(quotas_->Charge(other, 1, 1000).has_value());
  EXPECT_TRUE(quotas_->Charge(app_, 3, 0).has_value());
  EXPECT_FALSE(quotas_->Charge(app_, 1, 0).has_value());
  Must(db_->SetQuota("client:app", {.requests_per_minute = 4}));
  Must(db_->SetQuota("*", {.requests_per_minute = 1}));
  Must(quotas_->Flush());
  EXPECT_TRUE(quotas_->Charge(app_, 1, 0).has_value());
  EXPECT_FALSE(quotas_->Charge(other, 1, 0).has_value()) << "the quota of all others";
}

TEST_F(QuotaTest, NothingWaitsForADatabaseThatAnotherHoldsLocked) {
  Must(quotas_->Charge(app_, 1, 0));
  Database other = Must(Database::Open(temp_.path() / "hadal.db"));
  Must(other.Execute("BEGIN IMMEDIATE"));
  std::atomic<bool> flushed = false;
  std::thread flusher([&] {
    (void)quotas_->Flush();
    flushed = true;
  });
  // Were any of these to wait for the database, then until Flush has given up and let it go.
  for (int i = 0; i < 2000; ++i) quotas_->Record({fmt::format("user:u{}", i), "", {}}, 1);
  quotas_->Record(app_, 60);
  EXPECT_TRUE(quotas_->Charge(app_, 0, 40).has_value());
  EXPECT_FALSE(quotas_->Charge(app_, 0, 1).has_value()) << "what was recorded counts";
  EXPECT_FALSE(flushed);
  Must(other.Execute("ROLLBACK"));
  flusher.join();
  Must(quotas_->Flush());
  EXPECT_EQ(Must(db_->FindUsage("user:u1999", 86400, 86400 * 1000)).tokens, 1);
}

TEST_F(QuotaTest, CountsOutlastADatabaseThatFails) {
  Database other = Must(Database::Open(temp_.path() / "hadal.db"));
  Must(other.Execute("CREATE TRIGGER broken BEFORE INSERT ON usage BEGIN SELECT RAISE(ABORT, 'broken'); END"));
  Must(quotas_->Charge(app_, 2, 30));
  EXPECT_FALSE(quotas_->Flush().has_value());
  now_ += 600;
  EXPECT_FALSE(quotas_->Flush().has_value()) << "the counts are still to be written";
  Must(other.Execute("DROP TRIGGER broken"));
  Must(quotas_->Flush());
  const QuotaUsage day = Must(db_->FindUsage("client:app", 86400, 86400 * 1000));
  EXPECT_EQ(day.requests, 2);
  EXPECT_EQ(day.tokens, 30);
}

}  // namespace
}  // namespace hadal
