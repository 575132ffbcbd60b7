// Quotas: requests and tokens per minute and per day, of each caller.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "base/status.h"
#include "server/http_types.h"
#include "server/state_db.h"

namespace hadal {

/// Counts in memory, so that no request waits for the disk; a thread writes the counts down every second and
/// reads changed limits. After a crash at most the last second is forgotten. Windows are minutes and days of
/// UTC. Thread-safe.
class Quotas {
 public:
  /// `db` must outlive it, best its own connection.
  Quotas(StateDb& db, std::function<int64_t()> now);
  ~Quotas();

  /// Counts `requests` and `tokens` for the caller, all or nothing: kResourceExhausted if a limit would be
  /// passed (HTTP 429), naming it; then `*retry_after` is the time until that window ends, in seconds.
  Status Charge(const Identity& identity, int64_t requests, int64_t tokens, int64_t* retry_after = nullptr);
  /// Counts what has been used already, beyond a limit too.
  void Record(const Identity& identity, int64_t tokens);

  /// Writes the counts down now.
  Status Flush();

 private:
  struct Window {
    int64_t seconds = 0, start = 0;
    QuotaUsage used;
    bool dirty = false;
  };
  struct Caller {
    QuotaLimits limits;
    Window minute, day;
    int64_t last_seen = 0;
  };
  Result<Caller*> Find(const std::string& subject, int64_t now);
  Status Roll(const std::string& subject, Window& window, int64_t now, bool first);
  void Run();

  StateDb& db_;
  const std::function<int64_t()> now_;
  std::mutex mutex_;
  std::map<std::string, Caller> callers_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace hadal
