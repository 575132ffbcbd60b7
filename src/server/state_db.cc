#include "server/state_db.h"

#include <utility>

#include "server/state_folder.h"

namespace hadal {
namespace {

constexpr int64_t kSchemaVersion = 1;
constexpr int64_t kSecondsADay = 86400;

constexpr const char* kTables = R"(
CREATE TABLE accounts (subject TEXT PRIMARY KEY, secret TEXT NOT NULL, scopes TEXT NOT NULL,
                       disabled INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE tokens (id TEXT PRIMARY KEY, kind INTEGER NOT NULL, hash BLOB NOT NULL, subject TEXT NOT NULL,
                     client TEXT NOT NULL, scopes TEXT NOT NULL, family TEXT NOT NULL, issued INTEGER NOT NULL,
                     expires INTEGER NOT NULL, revoked INTEGER NOT NULL) STRICT;
CREATE INDEX tokens_subject ON tokens (subject);
CREATE INDEX tokens_family ON tokens (family);
CREATE INDEX tokens_expires ON tokens (expires);
CREATE TABLE quotas (subject TEXT PRIMARY KEY, requests_per_minute INTEGER NOT NULL,
                     requests_per_day INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL,
                     tokens_per_day INTEGER NOT NULL) STRICT;
CREATE TABLE usage (subject TEXT NOT NULL, window INTEGER NOT NULL, start INTEGER NOT NULL,
                    requests INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (subject, window)) STRICT;
CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, event TEXT NOT NULL,
                    actor TEXT NOT NULL, peer TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
)";

constexpr const char* kInsertToken = "INSERT INTO tokens VALUES (?,?,?,?,?,?,?,?,?,?)";
constexpr const char* kDropExpired = "DELETE FROM tokens WHERE expires > 0 AND expires < ?";
constexpr const char* kRevokeToken = "UPDATE tokens SET revoked = ? WHERE id = ? AND revoked = 0";
constexpr const char* kRevokeFamily = "UPDATE tokens SET revoked = ? WHERE family = ? AND revoked = 0";
constexpr const char* kRevokeSubject = "UPDATE tokens SET revoked = ? WHERE subject = ? AND revoked = 0";
constexpr const char* kSetDisabled = "UPDATE accounts SET disabled = ? WHERE subject = ?";
constexpr const char* kSetSecret = "UPDATE accounts SET secret = ? WHERE subject = ?";
constexpr const char* kListTokens =
    "SELECT id, kind, hash, subject, client, scopes, family, issued, expires, revoked FROM tokens "
    "ORDER BY issued, id";
constexpr const char* kFindToken =
    "SELECT t.id, t.kind, t.hash, t.subject, t.client, t.scopes, t.family, t.issued, t.expires, t.revoked, "
    "a.disabled FROM tokens t JOIN accounts a ON a.subject = t.subject WHERE t.id = ? AND t.kind = ?";

Account AccountOf(const Query& row) {
  return {row.Text(0), row.Text(1), row.Text(2), row.Int(3) != 0, row.Int(4)};
}

TokenRecord TokenOf(const Query& row) {
  return {row.Text(0), static_cast<TokenKind>(row.Int(1)),
          row.Text(2), row.Text(3),
          row.Text(4), row.Text(5),
          row.Text(6), row.Int(7),
          row.Int(8),  row.Int(9)};
}

/// Every row of `query` as `read` makes it.
template <typename T>
Result<std::vector<T>> All(Query& query, T (*read)(const Query&)) {
  std::vector<T> rows;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return rows;
    rows.push_back(read(query));
  }
}

}  // namespace

std::string UserSubject(std::string_view name) { return fmt::format("user:{}", name); }
std::string ClientSubject(std::string_view name) { return fmt::format("client:{}", name); }

const char* TokenKindName(TokenKind kind) {
  switch (kind) {
    case TokenKind::kAccess:
      return "access";
    case TokenKind::kRefresh:
      return "refresh";
    case TokenKind::kApiKey:
      return "api_key";
  }
  return "";
}

Result<std::unique_ptr<StateDb>> StateDb::Open(const Path& state_folder) {
  // One at a time: a new file turns to its write-ahead log without waiting for others.
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(state_folder));
  ASSIGN_OR_RETURN(Database database, Database::Open(state_folder / "hadal.db"));
  std::unique_ptr<StateDb> db(new StateDb(std::move(database)));
  RETURN_IF_ERROR(db->CreateTables());
  return db;
}

Status StateDb::CreateTables() {
  const auto version = [this]() -> Result<int64_t> {
    ASSIGN_OR_RETURN(Query query, db_.Prepare("PRAGMA user_version"));
    RETURN_IF_ERROR(query.Step());
    return query.Int(0);
  };
  ASSIGN_OR_RETURN(int64_t found, version());
  if (found == 0) {
    // Two processes may come here together: the second finds the tables made.
    ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
    ASSIGN_OR_RETURN(found, version());
    if (found == 0) RETURN_IF_ERROR(db_.Execute(kTables));
    RETURN_IF_ERROR(transaction.Commit());
    ASSIGN_OR_RETURN(found, version());
  }
  if (found == kSchemaVersion)  // an older hadal of the same version made the tables without this index
    return db_.Execute("CREATE INDEX IF NOT EXISTS audit_event ON audit (event, id)");
  return Unsupported(
      "the state database has version {}, and this hadal knows {}; use the hadal that wrote it", found,
      kSchemaVersion);
}

Status StateDb::AddAccount(const Account& account) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare("INSERT OR IGNORE INTO accounts VALUES (?,?,?,?,?)"));
  query.Bind(account.subject).Bind(account.secret).Bind(account.scopes);
  query.Bind(int64_t{account.disabled}).Bind(account.created);
  RETURN_IF_ERROR(query.Run());
  if (db_.changes() == 1) return {};
  return FailedPrecondition("there is a {} already; choose another name", account.subject);
}

Result<Account> StateDb::FindAccount(std::string_view subject) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare("SELECT * FROM accounts WHERE subject = ?"));
  ASSIGN_OR_RETURN(const bool found, query.Bind(subject).Step());
  if (found) return AccountOf(query);
  return NotFound("there is no {}", subject);
}

Result<std::vector<Account>> StateDb::ListAccounts(std::string_view prefix) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(
      Query query,
      db_.Prepare("SELECT * FROM accounts WHERE substr(subject, 1, length(?)) = ? ORDER BY subject"));
  return All(query.Bind(prefix).Bind(prefix), AccountOf);
}

Status StateDb::UpdateAccount(const char* sql, const std::function<void(Query&)>& bind,
                              std::string_view subject, int64_t now) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  {
    ASSIGN_OR_RETURN(Query update, db_.Prepare(sql));
    bind(update);
    RETURN_IF_ERROR(update.Bind(subject).Run());
    if (db_.changes() == 0) return NotFound("there is no {}", subject);
  }
  RETURN_IF_ERROR(Revoke(kRevokeSubject, subject, now));
  return transaction.Commit();
}

Status StateDb::SetDisabled(std::string_view subject, bool disabled, int64_t now) {
  return UpdateAccount(
      kSetDisabled, [&](Query& query) { query.Bind(int64_t{disabled}); }, subject, now);
}

Status StateDb::SetSecret(std::string_view subject, std::string_view secret, int64_t now) {
  return UpdateAccount(
      kSetSecret, [&](Query& query) { query.Bind(secret); }, subject, now);
}

Status StateDb::InsertToken(const TokenRecord& record) {
  ASSIGN_OR_RETURN(Query query, db_.Prepare(kInsertToken));
  query.Bind(record.id).Bind(static_cast<int64_t>(record.kind)).BindBlob(record.hash).Bind(record.subject);
  query.Bind(record.client).Bind(record.scopes).Bind(record.family);
  return query.Bind(record.issued).Bind(record.expires).Bind(record.revoked).Run();
}

Status StateDb::AddTokens(const std::vector<TokenRecord>& records) {
  if (records.empty()) return {};
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  {
    ASSIGN_OR_RETURN(Query drop, db_.Prepare(kDropExpired));
    RETURN_IF_ERROR(drop.Bind(records.front().issued - kSecondsADay).Run());
  }
  for (const TokenRecord& record : records) RETURN_IF_ERROR(InsertToken(record));
  return transaction.Commit();
}

Result<StateDb::TokenState> StateDb::FindToken(std::string_view id, TokenKind kind) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare(kFindToken));
  ASSIGN_OR_RETURN(const bool found, query.Bind(id).Bind(static_cast<int64_t>(kind)).Step());
  if (!found) return TokenState{};
  TokenState state{TokenOf(query), false};
  state.usable = state.record.revoked == 0 && query.Int(10) == 0;
  return state;
}

Result<bool> StateDb::Replace(std::string_view id, const std::vector<TokenRecord>& records, int64_t now) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  ASSIGN_OR_RETURN(const int64_t revoked, Revoke(kRevokeToken, id, now));
  if (revoked == 1) {
    for (const TokenRecord& record : records) RETURN_IF_ERROR(InsertToken(record));
  } else if (!records.empty()) {
    RETURN_IF_ERROR(Revoke(kRevokeFamily, records.front().family, now));
  }
  RETURN_IF_ERROR(transaction.Commit());
  return revoked == 1;
}

Result<int64_t> StateDb::Revoke(const char* sql, std::string_view key, int64_t now) {
  ASSIGN_OR_RETURN(Query query, db_.Prepare(sql));
  RETURN_IF_ERROR(query.Bind(now).Bind(key).Run());
  return db_.changes();
}

Result<int64_t> StateDb::RevokeToken(std::string_view id, int64_t now) {
  const std::lock_guard lock(mutex_);
  return Revoke(kRevokeToken, id, now);
}

Result<int64_t> StateDb::RevokeFamily(std::string_view family, int64_t now) {
  const std::lock_guard lock(mutex_);
  return Revoke(kRevokeFamily, family, now);
}

Result<int64_t> StateDb::RevokeSubject(std::string_view subject, int64_t now) {
  const std::lock_guard lock(mutex_);
  return Revoke(kRevokeSubject, subject, now);
}

Result<std::vector<TokenRecord>> StateDb::ListTokens() {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare(kListTokens));
  return All(query, TokenOf);
}

}  // namespace hadal
