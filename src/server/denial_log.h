// The audit of refused requests: counted in memory, and written down as a few records every ten seconds, so
// that whoever is refused a million times costs no more disk than one who is refused often.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>

#include "base/status.h"
#include "server/http_types.h"
#include "server/state_db.h"

namespace hadal {

/// Thread-safe. Note takes no disk and little time.
class DenialLog {
 public:
  /// At most so many kinds of denial a round have a record of their own; the others share one.
  static constexpr size_t kMaxKinds = 32;

  /// `db` must outlive it, best a connection that no request waits for.
  DenialLog(StateDb& db, std::function<int64_t()> now,
            std::chrono::milliseconds round = std::chrono::seconds(10));
  ~DenialLog();  // writes down what was counted
  DenialLog(const DenialLog&) = delete;
  DenialLog& operator=(const DenialLog&) = delete;

  /// `subject`: whose credentials they were, where they were good but not enough; empty for strangers.
  void Note(const HttpRequest& request, const Authorizer::Denial& denial, const std::string& subject);

  /// Writes the records down now. What cannot be written is kept for the next time.
  Status Flush();

 private:
  struct Kind {
    int status = 0;
    std::string error, peer, subject;
    auto operator<=>(const Kind&) const = default;
  };
  struct Count {
    int64_t times = 0, since = 0;
    std::string first_path;
  };
  void Run();

  StateDb& db_;
  const std::function<int64_t()> now_;
  const std::chrono::milliseconds round_;
  std::mutex mutex_;
  std::map<Kind, Count> counts_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace hadal
