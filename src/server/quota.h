// Quotas: requests and tokens per minute and per day, of each caller.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "server/http_types.h"
#include "server/state_db.h"

namespace hadal {

/// Counts in memory, so that no request of a known caller waits for the disk; a thread writes the counts down every
/// second and reads changed limits. After a crash at most the last second is forgotten. Windows are minutes and days
/// of UTC. Thread-safe.
class Quotas {
 public:
  /// `db` must outlive it, best its own connection.
  Quotas(StateDb& db, std::function<int64_t()> now);
  ~Quotas();

  /// Counts `requests` and `tokens` for the caller, all or nothing: kResourceExhausted if a limit would be
  /// passed (HTTP 429), naming it; then `*retry_after` is the time until that window ends, in seconds. A caller that is
  /// not known yet is read from the database first: kUnavailable if it fails, or if too many callers are known.
  Status Charge(const Identity& identity, int64_t requests, int64_t tokens, int64_t* retry_after = nullptr);
  /// Counts what has been used already, beyond a limit too. Notes it and returns: the engine's thread calls this, and
  /// must not wait for the database. The next Charge of the caller sees it.
  void Record(const Identity& identity, int64_t tokens);

  /// Writes the counts down now.
  Status Flush();

 private:
  struct Window {
    int64_t seconds = 0, start = 0;
    QuotaUsage used;
    bool dirty = false;
  };
  struct Recorded {
    std::string subject;
    int64_t tokens = 0, at = 0;
  };
  struct Caller {
    QuotaLimits limits;
    Window minute, day;
    int64_t last_seen = 0;
    void Roll(int64_t now);
    void Use(const Recorded& recorded);
  };
  Result<Caller> Load(const std::string& subject, int64_t now);
  Caller& AdoptLocked(const std::string& subject, const Caller& loaded);
  void MergeRecordedLocked();
  Status LoadRecorded();
  std::vector<StateDb::UsageRecord> TakeDirtyLocked();
  void Run();

  StateDb& db_;
  const std::function<int64_t()> now_;
  std::mutex flush_mutex_;  // one Flush at a time; taken before mutex_
  std::mutex mutex_;        // guards what follows; never held over a call of db_
  std::map<std::string, Caller> callers_;
  std::vector<Recorded> unmerged_;  // of callers that Flush has yet to load; bounded
  std::mutex recorded_mutex_;       // guards recorded_; innermost, held for moments
  std::vector<Recorded> recorded_;  // bounded
  std::condition_variable ended_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace hadal
