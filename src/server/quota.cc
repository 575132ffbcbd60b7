#include "server/quota.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace hadal {
namespace {

constexpr int64_t kMinute = 60, kDay = 86400;
constexpr size_t kMaxCallers = 100'000;
// What a database that is away for long may leave uncounted: beyond it, use is forgotten.
constexpr size_t kMaxRecorded = 65'536;

/// What the caller would have used, against its limit. `left`: seconds until the window ends.
Status CheckLimit(const char* what, int64_t used, int64_t asked, int64_t limit, int64_t left,
                  int64_t* retry_after) {
  // Written without used + asked, which could overflow.
  if (limit == 0 || (used <= limit && asked <= limit - used)) return {};
  if (retry_after != nullptr) *retry_after = left;
  return ResourceExhausted(
      "the quota of {} {} is used up ({} used, {} asked for); it begins anew in {} seconds", limit, what,
      used, asked, left);
}

}  // namespace

Quotas::Quotas(StateDb& db, std::function<int64_t()> now)
    : db_(db), now_(std::move(now)), thread_([this] { Run(); }) {}

Quotas::~Quotas() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ended_.notify_one();
  thread_.join();
  (void)Flush();
}

/// The caller as the database has it. Waits for the disk: not under mutex_.
Result<Quotas::Caller> Quotas::Load(const std::string& subject, int64_t now) {
  Caller caller;
  caller.last_seen = now;
  ASSIGN_OR_RETURN(caller.limits, db_.FindQuota(subject));
  caller.minute.seconds = kMinute;
  caller.day.seconds = kDay;
  for (Window* window : {&caller.minute, &caller.day}) {
    window->start = now / window->seconds * window->seconds;
    ASSIGN_OR_RETURN(window->used, db_.FindUsage(subject, window->seconds, window->start));
  }
  return caller;
}

/// Takes a loaded caller in, unless another thread was faster, and what was recorded of it.
Quotas::Caller& Quotas::AdoptLocked(const std::string& subject, const Caller& loaded) {
  Caller& caller = callers_.try_emplace(subject, loaded).first->second;
  std::erase_if(unmerged_, [&](const Recorded& recorded) {
    if (recorded.subject != subject) return false;
    caller.Use(recorded);
    return true;
  });
  return caller;
}

/// A new window begins with nothing used.
void Quotas::Caller::Roll(int64_t now) {
  for (Window* window : {&minute, &day}) {
    const int64_t start = now / window->seconds * window->seconds;
    if (start == window->start) continue;
    window->start = start;
    window->used = {};
    window->dirty = false;
  }
}

/// Counts for the windows of its time; one that has ended limits nothing any more.
void Quotas::Caller::Use(const Recorded& recorded) {
  Roll(std::max(recorded.at, last_seen));
  last_seen = std::max(recorded.at, last_seen);
  for (Window* window : {&minute, &day}) {
    if (recorded.at < window->start) continue;
    window->used.tokens += recorded.tokens;
    window->dirty = true;
  }
}

void Quotas::MergeRecordedLocked() {
  std::vector<Recorded> taken;
  {
    const std::lock_guard lock(recorded_mutex_);
    taken.swap(recorded_);
  }
  for (Recorded& recorded : taken) {
    const auto found = callers_.find(recorded.subject);
    if (found != callers_.end()) {
      found->second.Use(recorded);
    } else if (unmerged_.size() < kMaxRecorded) {
      unmerged_.push_back(std::move(recorded));
    }
  }
}

Status Quotas::Charge(const Identity& identity, int64_t requests, int64_t tokens, int64_t* retry_after) {
  if (requests < 0 || tokens < 0)
    return InvalidArgument("a quota is charged with {} requests, {} tokens", requests, tokens);
  std::unique_lock lock(mutex_);
  const auto found = callers_.find(identity.subject);
  Caller* caller = found == callers_.end() ? nullptr : &found->second;
  if (caller == nullptr) {
    if (callers_.size() >= kMaxCallers) return Unavailable("too many callers have quotas at once");
    lock.unlock();
    const Result<Caller> loaded = Load(identity.subject, now_());
    // One code whatever failed: a full disk must not pass for a quota that is used up.
    if (!loaded) return Unavailable("the caller's quota cannot be read: {}", loaded.error().message);
    lock.lock();
    caller = &AdoptLocked(identity.subject, *loaded);
  }
  const int64_t now = now_();
  MergeRecordedLocked();
  caller->Roll(now);
  caller->last_seen = now;
  const QuotaLimits& limits = caller->limits;
  const QuotaUsage &minute = caller->minute.used, &day = caller->day.used;
  const int64_t minute_left = kMinute - now % kMinute, day_left = kDay - now % kDay;
  // A request takes one token at least, though how many is known only when it has run.
  const int64_t least_tokens = requests > 0 ? std::max<int64_t>(tokens, 1) : tokens;
  RETURN_IF_ERROR(
      CheckLimit("requests a day", day.requests, requests, limits.requests_per_day, day_left, retry_after));
  RETURN_IF_ERROR(
      CheckLimit("tokens a day", day.tokens, least_tokens, limits.tokens_per_day, day_left, retry_after));
  RETURN_IF_ERROR(CheckLimit("requests a minute", minute.requests, requests, limits.requests_per_minute,
                             minute_left, retry_after));
  RETURN_IF_ERROR(CheckLimit("tokens a minute", minute.tokens, least_tokens, limits.tokens_per_minute, minute_left,
                             retry_after));
  for (Window* window : {&caller->minute, &caller->day}) {
    window->used.requests += requests;
    window->used.tokens += tokens;
    window->dirty = true;
  }
  return {};
}

void Quotas::Record(const Identity& identity, int64_t tokens) {
  Recorded recorded{identity.subject, tokens, now_()};
  const std::lock_guard lock(recorded_mutex_);
  if (recorded_.size() < kMaxRecorded) recorded_.push_back(std::move(recorded));
}

/// Loads the callers whose use was recorded while they were not known, so that it counts.
Status Quotas::LoadRecorded() {
  std::vector<std::string> subjects;
  {
    const std::lock_guard lock(mutex_);
    MergeRecordedLocked();
    for (const Recorded& recorded : unmerged_) subjects.push_back(recorded.subject);
  }
  std::ranges::sort(subjects);
  subjects.erase(std::ranges::unique(subjects).begin(), subjects.end());
  for (const std::string& subject : subjects) {
    ASSIGN_OR_RETURN(const Caller loaded, Load(subject, now_()));
    const std::lock_guard lock(mutex_);
    // Beyond the limit they wait until others have been forgotten.
    if (callers_.size() < kMaxCallers || callers_.contains(subject)) AdoptLocked(subject, loaded);
  }
  return {};
}

/// What is to be written; it counts as written from here on.
std::vector<StateDb::UsageRecord> Quotas::TakeDirtyLocked() {
  std::vector<StateDb::UsageRecord> records;
  for (auto& [subject, caller] : callers_) {
    for (Window* window : {&caller.minute, &caller.day}) {
      if (std::exchange(window->dirty, false))
        records.push_back({subject, window->seconds, window->start, window->used});
    }
  }
  return records;
}

Status Quotas::Flush() {
  const std::lock_guard flush(flush_mutex_);
  const Status loaded = LoadRecorded();
  std::vector<StateDb::UsageRecord> written;
  std::vector<std::string> subjects;
  {
    const std::lock_guard lock(mutex_);
    written = TakeDirtyLocked();
    for (const auto& [subject, caller] : callers_) subjects.push_back(subject);
  }
  // Without the lock: requests go on while the disk is busy.
  if (const Status done = db_.SetUsage(written); !done) {
    const std::lock_guard lock(mutex_);
    for (const StateDb::UsageRecord& record : written) {
      const auto found = callers_.find(record.subject);  // there: only Flush forgets callers
      Window& window = record.window == kMinute ? found->second.minute : found->second.day;
      if (window.start == record.start) window.dirty = true;
    }
    return done;
  }
  RETURN_IF_ERROR(loaded);
  std::map<std::string, QuotaLimits> limits;
  for (const std::string& subject : subjects) {
    ASSIGN_OR_RETURN(limits[subject], db_.FindQuota(subject));
  }
  const std::lock_guard lock(mutex_);
  const int64_t now = now_();
  std::erase_if(callers_, [&](const auto& item) {
    return now - item.second.last_seen > kMinute && !item.second.minute.dirty && !item.second.day.dirty;
  });
  for (auto& [subject, caller] : callers_)
    if (const auto found = limits.find(subject); found != limits.end()) caller.limits = found->second;
  return {};
}

void Quotas::Run() {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, std::chrono::seconds(1), [this] { return ending_; })) {
    lock.unlock();
    (void)Flush();
    lock.lock();
  }
}

}  // namespace hadal
