#include "server/quota.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace hadal {
namespace {

constexpr int64_t kMinute = 60, kDay = 86400;
constexpr size_t kMaxCallers = 100'000;

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

Status Quotas::Roll(const std::string& subject, Window& window, int64_t now, bool first) {
  const int64_t start = now / window.seconds * window.seconds;
  if (!first && start == window.start) return {};
  window.start = start;
  window.used = {};
  window.dirty = false;
  if (!first) return {};
  ASSIGN_OR_RETURN(window.used, db_.FindUsage(subject, window.seconds, start));
  return {};
}

Result<Quotas::Caller*> Quotas::Find(const std::string& subject, int64_t now) {
  auto found = callers_.find(subject);
  const bool first = found == callers_.end();
  if (first) {
    if (callers_.size() >= kMaxCallers) return ResourceExhausted("too many callers have quotas at once");
    Caller caller;
    ASSIGN_OR_RETURN(caller.limits, db_.FindQuota(subject));
    caller.minute.seconds = kMinute;
    caller.day.seconds = kDay;
    RETURN_IF_ERROR(Roll(subject, caller.minute, now, true));
    RETURN_IF_ERROR(Roll(subject, caller.day, now, true));
    found = callers_.emplace(subject, caller).first;
  }
  Caller& caller = found->second;
  caller.last_seen = now;
  RETURN_IF_ERROR(Roll(subject, caller.minute, now, false));
  RETURN_IF_ERROR(Roll(subject, caller.day, now, false));
  return &caller;
}

Status Quotas::Charge(const Identity& identity, int64_t requests, int64_t tokens, int64_t* retry_after) {
  if (requests < 0 || tokens < 0)
    return InvalidArgument("a quota is charged with {} requests, {} tokens", requests, tokens);
  const int64_t now = now_();
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Caller* const caller, Find(identity.subject, now));
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
  const std::lock_guard lock(mutex_);
  const Result<Caller*> caller = Find(identity.subject, now_());
  if (!caller) return;  // the database is away: the request itself was let in before
  for (Window* window : {&(*caller)->minute, &(*caller)->day}) {
    window->used.tokens += tokens;
    window->dirty = true;
  }
}

Status Quotas::Flush() {
  std::vector<StateDb::UsageRecord> written;
  std::vector<std::string> subjects;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [subject, caller] : callers_) {
      subjects.push_back(subject);
      for (Window* window : {&caller.minute, &caller.day}) {
        if (window->dirty) written.push_back({subject, window->seconds, window->start, window->used});
        window->dirty = false;
      }
    }
  }
  // Without the lock: requests go on while the disk is busy.
  RETURN_IF_ERROR(db_.SetUsage(written));
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
