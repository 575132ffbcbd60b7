#include "server/denial_log.h"

#include <utility>

namespace hadal {
namespace {

constexpr size_t kMaxPath = 128;

}  // namespace

DenialLog::DenialLog(StateDb& db, std::function<int64_t()> now, std::chrono::milliseconds round)
    : db_(db), now_(std::move(now)), round_(round), thread_([this] { Run(); }) {}

DenialLog::~DenialLog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ended_.notify_one();
  thread_.join();
  (void)Flush();
}

void DenialLog::Note(const HttpRequest& request, const Authorizer::Denial& denial,
                     const std::string& subject) {
  Kind kind{denial.status, denial.error, request.peer, subject};
  const std::lock_guard lock(mutex_);
  // The share of all others: no peer, no name.
  if (counts_.size() >= kMaxKinds && !counts_.contains(kind)) kind = {};
  Count& count = counts_[kind];
  if (count.times++ > 0) return;
  count.since = now_();
  // Only paths of routes come here, never a query.
  if (kind.status != 0) count.first_path = request.target.substr(0, kMaxPath);
}

Status DenialLog::Flush() {
  std::map<Kind, Count> counts;
  {
    const std::lock_guard lock(mutex_);
    counts.swap(counts_);
  }
  while (!counts.empty()) {
    const auto& [kind, count] = *counts.begin();
    const std::string what =
        kind.status == 0 ? "other refusals"
                         : fmt::format("{} {} at {}", kind.status,
                                       kind.error.empty() ? "no credentials" : kind.error, count.first_path);
    const Status written =
        db_.Audit({count.since, "denied", kind.subject, kind.peer.empty() ? "many" : kind.peer,
                   fmt::format("{}, {} time{}", what, count.times, count.times == 1 ? "" : "s")});
    if (!written) {
      const std::lock_guard lock(mutex_);
      for (const auto& [left, old] : counts) {
        Count& merged = counts_[counts_.size() < kMaxKinds || counts_.contains(left) ? left : Kind{}];
        if (merged.times == 0) merged = {0, old.since, old.first_path};
        merged.times += old.times;
      }
      return written;
    }
    counts.erase(counts.begin());
  }
  return {};
}

void DenialLog::Run() {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, round_, [this] { return ending_; })) {
    lock.unlock();
    (void)Flush();
    lock.lock();
  }
}

}  // namespace hadal
