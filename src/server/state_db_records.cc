// StateDb's small tables: quotas, audit, settings.
#include <algorithm>

#include "server/state_db.h"

namespace hadal {
namespace {

constexpr int64_t kKeptAuditRecords = 1'000'000;
// What strangers cause is pruned by itself, so that no flood of it pushes out what those with rights did.
constexpr int64_t kPruneEvery = 256;  // records
constexpr size_t kMaxAuditText = 512;
constexpr int64_t kKeptUsageSeconds = 2 * 86400;

constexpr const char* kFindQuota =
    "SELECT requests_per_minute, requests_per_day, tokens_per_minute, tokens_per_day FROM quotas "
    "WHERE subject IN (?, '*') ORDER BY subject = '*' LIMIT 1";

constexpr const char* kDropStrangers =
    "DELETE FROM audit WHERE event IN ('denied', 'login_refused', 'client_refused') AND id <= (SELECT id "
    "FROM audit "
    "WHERE event IN ('denied', 'login_refused', 'client_refused') ORDER BY id DESC LIMIT 1 OFFSET ?)";

}  // namespace

Status StateDb::SetQuota(std::string_view subject, const QuotaLimits& limits) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare("INSERT OR REPLACE INTO quotas VALUES (?,?,?,?,?)"));
  query.Bind(subject).Bind(limits.requests_per_minute).Bind(limits.requests_per_day);
  return query.Bind(limits.tokens_per_minute).Bind(limits.tokens_per_day).Run();
}

Result<QuotaLimits> StateDb::FindQuota(std::string_view subject) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare(kFindQuota));
  ASSIGN_OR_RETURN(const bool found, query.Bind(subject).Step());
  if (!found) return QuotaLimits{};
  return QuotaLimits{query.Int(0), query.Int(1), query.Int(2), query.Int(3)};
}

Result<QuotaUsage> StateDb::FindUsage(std::string_view subject, int64_t window, int64_t start) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(
      Query query,
      db_.Prepare("SELECT requests, tokens FROM usage WHERE subject = ? AND window = ? AND start = ?"));
  ASSIGN_OR_RETURN(const bool found, query.Bind(subject).Bind(window).Bind(start).Step());
  if (!found) return QuotaUsage{};
  return QuotaUsage{query.Int(0), query.Int(1)};
}

Status StateDb::SetUsage(const std::vector<UsageRecord>& records) {
  if (records.empty()) return {};
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  for (const auto& [subject, window, start, usage] : records) {
    ASSIGN_OR_RETURN(Query query, db_.Prepare("INSERT OR REPLACE INTO usage VALUES (?,?,?,?,?)"));
    query.Bind(subject).Bind(window).Bind(start).Bind(usage.requests).Bind(usage.tokens);
    RETURN_IF_ERROR(query.Run());
  }
  {
    ASSIGN_OR_RETURN(Query drop, db_.Prepare("DELETE FROM usage WHERE start < ?"));
    RETURN_IF_ERROR(drop.Bind(records.front().start - kKeptUsageSeconds).Run());
  }
  return transaction.Commit();
}

Status StateDb::Audit(const AuditRecord& record) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  {
    const auto bounded = [](std::string_view text) { return text.substr(0, kMaxAuditText); };
    ASSIGN_OR_RETURN(Query query,
                     db_.Prepare("INSERT INTO audit (time, event, actor, peer, detail) VALUES (?,?,?,?,?)"));
    query.Bind(record.time).Bind(bounded(record.event)).Bind(bounded(record.actor));
    RETURN_IF_ERROR(query.Bind(bounded(record.peer)).Bind(bounded(record.detail)).Run());
    ASSIGN_OR_RETURN(Query drop, db_.Prepare("DELETE FROM audit WHERE id <= last_insert_rowid() - ?"));
    RETURN_IF_ERROR(drop.Bind(kKeptAuditRecords).Run());
    if (db_.last_insert_id() % kPruneEvery == 0) {
      ASSIGN_OR_RETURN(Query strangers, db_.Prepare(kDropStrangers));
      RETURN_IF_ERROR(strangers.Bind(kept_stranger_records_).Run());
    }
  }
  return transaction.Commit();
}

Result<std::vector<AuditRecord>> StateDb::ListAudit(int64_t newest, std::string_view event) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare("SELECT time, event, actor, peer, detail FROM audit "
                                            "WHERE ? = '' OR event = ? ORDER BY id DESC LIMIT ?"));
  query.Bind(event).Bind(event).Bind(newest);
  std::vector<AuditRecord> records;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) break;
    records.push_back({query.Int(0), query.Text(1), query.Text(2), query.Text(3), query.Text(4)});
  }
  std::reverse(records.begin(), records.end());
  return records;
}

Result<std::string> StateDb::Setting(std::string_view name) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare("SELECT value FROM settings WHERE name = ?"));
  ASSIGN_OR_RETURN(const bool found, query.Bind(name).Step());
  return found ? query.Text(0) : std::string();
}

Status StateDb::SetSetting(std::string_view name, std::string_view value) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Query query, db_.Prepare("INSERT OR REPLACE INTO settings VALUES (?,?)"));
  return query.Bind(name).Bind(value).Run();
}

}  // namespace hadal
