// The records of access control in STATE/hadal.db: accounts, tokens, quotas, audit. Names and tokens are
// always bound parameters; of secrets there are hashes only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/sqlite.h"

namespace hadal {

/// A user or client. `subject` is the key, and the sub of its tokens: "user:NAME" or "client:NAME", so that a
/// client cannot pass for a user of its name.
struct Account {
  std::string subject = {};
  std::string secret = {};  // users: argon2id; clients: SHA-256 of the secret, empty for a client without one
  std::string scopes = {};  // what may be asked for at /token
  bool disabled = false;
  int64_t created = 0;  // times are seconds since 1970
};
std::string UserSubject(std::string_view name);
std::string ClientSubject(std::string_view name);

enum class TokenKind { kAccess, kRefresh, kApiKey };
const char* TokenKindName(TokenKind kind);

struct TokenRecord {
  std::string id = {};  // jti of an access token, the ID of an opaque one
  TokenKind kind = TokenKind::kAccess;
  std::string hash = {};  // SHA-256 of an opaque token's secret; empty for access tokens
  std::string subject = {}, client = {}, scopes = {};
  std::string family = {};  // of one login: a refresh token used twice revokes them all
  int64_t issued = 0;
  int64_t expires = 0;  // 0: never
  int64_t revoked = 0;  // 0: not
};

/// Limits of a subject; 0: none.
struct QuotaLimits {
  int64_t requests_per_minute = 0, requests_per_day = 0, tokens_per_minute = 0, tokens_per_day = 0;
};
struct QuotaUsage {
  int64_t requests = 0, tokens = 0;
};

struct AuditRecord {
  int64_t time = 0;
  std::string event = {}, actor = {}, peer = {}, detail = {};
};

/// One connection. Thread-safe by a lock; what must not wait for another's fsync opens its own.
/// Errors are those of Query::Step.
class StateDb {
 public:
  /// Makes the tables, or checks that they are of this version: kUnsupported if a newer hadal wrote them.
  static Result<std::unique_ptr<StateDb>> Open(const Path& state_folder);

  /// kFailedPrecondition if there is one of that subject.
  Status AddAccount(const Account& account);
  /// kNotFound.
  Result<Account> FindAccount(std::string_view subject);
  /// `prefix`: "user:" or "client:".
  Result<std::vector<Account>> ListAccounts(std::string_view prefix);
  /// Both revoke every token of the account in the same transaction (enabling again does not bring them
  /// back). kNotFound.
  Status SetDisabled(std::string_view subject, bool disabled, int64_t now);
  Status SetSecret(std::string_view subject, std::string_view secret, int64_t now);

  /// Adds the records together, and removes those that expired more than a day before the first's issue.
  Status AddTokens(const std::vector<TokenRecord>& records);
  struct TokenState {
    TokenRecord record;
    bool usable = false;  // known, not revoked, and its account is there and not disabled
  };
  /// `usable` false and an empty record for an unknown id.
  Result<TokenState> FindToken(std::string_view id, TokenKind kind);
  /// Replaces a refresh token by the next: revokes `id` and adds `records`, unless it was revoked meanwhile:
  /// then the whole family is, and the answer is false.
  Result<bool> Replace(std::string_view id, const std::vector<TokenRecord>& records, int64_t now);
  /// How many were revoked that were not before.
  Result<int64_t> RevokeToken(std::string_view id, int64_t now);
  Result<int64_t> RevokeFamily(std::string_view family, int64_t now);
  Result<int64_t> RevokeSubject(std::string_view subject, int64_t now);
  Result<std::vector<TokenRecord>> ListTokens();

  /// Subject "*" holds for those that have none of their own.
  Status SetQuota(std::string_view subject, const QuotaLimits& limits);
  Result<QuotaLimits> FindQuota(std::string_view subject);
  /// What `subject` used in the window (60 or 86400 seconds) that began at `start`.
  Result<QuotaUsage> FindUsage(std::string_view subject, int64_t window, int64_t start);
  /// Writes counts down together, and forgets windows that began more than two days before the first's.
  struct UsageRecord {
    std::string subject;
    int64_t window = 0, start = 0;
    QuotaUsage usage;
  };
  Status SetUsage(const std::vector<UsageRecord>& records);

  /// On the disk when it returns. The newest million records are kept; of what strangers cause (denied, login_refused,
  /// client_refused) the newest 100,000, so that no flood of it pushes the rest out.
  Status Audit(const AuditRecord& record);
  /// The newest records, oldest first; with `event`, only those.
  Result<std::vector<AuditRecord>> ListAudit(int64_t newest, std::string_view event = {});
  /// Another number for strangers' records, for tests.
  void KeepStrangerRecords(int64_t kept) { kept_stranger_records_ = kept; }

  /// Settings that the server and the command line must agree on, such as "issuer"; empty if never set.
  Result<std::string> Setting(std::string_view name);
  Status SetSetting(std::string_view name, std::string_view value);

 private:
  explicit StateDb(Database db) : db_(std::move(db)) {}
  Status CreateTables();
  Status InsertToken(const TokenRecord& record);
  Result<int64_t> Revoke(const char* sql, std::string_view key, int64_t now);
  Status UpdateAccount(const char* sql, const std::function<void(Query&)>& bind, std::string_view subject,
                       int64_t now);

  std::mutex mutex_;
  Database db_;
  int64_t kept_stranger_records_ = 100'000;
};

}  // namespace hadal
