#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

bool Earlier(const ScheduledRequest* a, const ScheduledRequest* b) { return ServedBefore(*a, *b); }
bool Later(const ScheduledRequest* a, const ScheduledRequest* b) { return ServedBefore(*b, *a); }

}  // namespace

bool ServedBefore(const ScheduledRequest& a, const ScheduledRequest& b) {
  return a.priority != b.priority ? a.priority > b.priority : a.arrival < b.arrival;
}

void StepPlan::Clear() {
  slices.clear();
  requests.clear();
  started.clear();
  lost.clear();
  decode_tokens = draft_tokens = prefill_tokens = 0;
}

Scheduler::Scheduler(const SchedulerOptions& options, PrefixCache& cache) : options_(options), cache_(cache) {
  HADAL_CHECK(options.max_running >= 1 && options.max_running <= options.step_tokens,
              "{} running requests, {} tokens in a step", options.max_running, options.step_tokens);
  HADAL_CHECK(options.logit_rows >= options.max_running, "{} running requests, {} logit rows", options.max_running,
              options.logit_rows);
  const size_t running = static_cast<size_t>(options.max_running);
  running_.reserve(running);
  waiting_.reserve(static_cast<size_t>(options.max_requests));
  plan_.slices.reserve(running);
  plan_.requests.reserve(running);
  plan_.started.reserve(running);
  plan_.lost.reserve(running);
}

void Scheduler::Add(ScheduledRequest& request) {
  HADAL_CHECK(request.sequence.computed == 0 && request.sequence.length() >= 1 &&
                  request.sequence.length() <= options_.context,
              "{} tokens, {} computed, context {}", request.sequence.length(), request.sequence.computed,
              options_.context);
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), &request, Later), &request);
}

void Scheduler::Remove(ScheduledRequest& request, bool distrust) {
  std::erase(running_, &request);
  std::erase(waiting_, &request);
  if (distrust) cache_.Forget(request.sequence.block_table);
  cache_.Release(request.sequence.block_table);
}

const StepPlan& Scheduler::Schedule(int64_t prefill_budget) {
  plan_.Clear();
  Decode();
  int64_t room = options_.step_tokens - plan_.decode_tokens - RoomForDrafts();
  if (plan_.decode_tokens > 0) room = std::min(room, std::max<int64_t>(prefill_budget, 1));
  Prefill(room);
  Admit(room);
  Guess(options_.step_tokens - plan_.decode_tokens - plan_.prefill_tokens);
  HADAL_CHECK(!plan_.slices.empty() || empty(), "{} running and {} waiting requests, and no step", running(),
              waiting());
  return plan_;
}

void Scheduler::Decode() {
  for (size_t i = 0; i < running_.size(); ++i) {
    ScheduledRequest& request = *running_[i];
    if (request.sequence.pending() == 1 && MakeRoom(request, BlocksFor(request.sequence.length()))) {
      PlanSlice(request, 1);
      ++plan_.decode_tokens;
    }
  }
}

void Scheduler::Prefill(int64_t& room) {
  for (size_t i = 0; i < running_.size() && room > 0; ++i) {
    ScheduledRequest& request = *running_[i];
    Sequence& s = request.sequence;
    if (s.pending() == 1) continue;
    int64_t count = std::min(room, s.pending());
    const int64_t held = static_cast<int64_t>(s.block_table.size());
    while (BlocksFor(s.computed + count) - held > cache_.available() && running_.back() != &request)
      PreemptYoungest();
    // The youngest takes what there is.
    count = std::min(count, (held + cache_.available()) * options_.block_size - s.computed);
    if (count <= 0) continue;
    PlanSlice(request, count);
    plan_.prefill_tokens += count;
    room -= count;
  }
}

void Scheduler::Admit(int64_t& room) {
  while (plan_.lost.empty() && room > 0 && running() < options_.max_running && !waiting_.empty()) {
    ScheduledRequest& request = *waiting_.back();
    Sequence& s = request.sequence;
    // Its last token is computed in any case: its logits are wanted.
    const int64_t most = std::min<int64_t>(static_cast<int64_t>(request.hashes.size()),
                                           (s.length() - 1) / options_.block_size);
    const std::span<const BlockHash> hashes(request.hashes.data(), static_cast<size_t>(most));
    const PrefixCache::Match match = cache_.Find(hashes, s.tokens);
    if (match.blocks < most && IsBeingComputed(request, match.blocks)) return;
    if (BlocksToGoOn(request) - (match.blocks - match.idle) > cache_.available() - Outstanding()) return;
    waiting_.pop_back();
    cache_.Take(hashes, s.tokens, match.blocks, s.block_table);
    request.cached_blocks = match.blocks;
    s.computed = match.blocks * options_.block_size;
    if (request.prefix_tokens < 0) {
      request.prefix_tokens = s.computed;
      plan_.started.push_back(&request);
    }
    running_.insert(std::upper_bound(running_.begin(), running_.end(), &request, Earlier), &request);
    const int64_t count = std::min(room, s.pending());
    PlanSlice(request, count);
    plan_.prefill_tokens += count;
    room -= count;
  }
}

/// How many of the tokens after its next one a decoding request can use: the last token of an answer is drawn,
/// never computed.
int64_t Scheduler::MostDrafts(const ScheduledRequest& request) const {
  const Sequence& s = request.sequence;
  if (s.computed < s.prompt_length) return 0;  // its pending token is the prompt's last
  const int64_t usable = std::min(request.most_tokens, options_.context) - s.length() - 1;
  return std::max<int64_t>(std::min({usable, request.most_drafts, options_.drafts}), 0);
}

/// Tokens that prompts leave to guesses.
int64_t Scheduler::RoomForDrafts() const {
  if (options_.drafts == 0) return 0;
  int64_t wanted = 0;
  for (const ScheduledRequest* request : plan_.requests) wanted += MostDrafts(*request);
  return std::min(wanted, (options_.step_tokens - plan_.decode_tokens) / 2);
}

/// The slices of decoding requests come first in the plan.
void Scheduler::Guess(int64_t room) {
  int64_t rows = options_.logit_rows;
  for (const Slice& slice : plan_.slices) rows -= slice.logits;
  room = std::min(room, rows);
  for (int64_t depth = 1; depth <= options_.drafts; ++depth) {
    for (int64_t i = 0; i < plan_.decode_tokens && room > 0; ++i)
      if (MostDrafts(*plan_.requests[static_cast<size_t>(i)]) >= depth) room -= AddDraft(static_cast<size_t>(i));
  }
}

/// False if that takes a block that another may need.
bool Scheduler::AddDraft(size_t index) {
  Slice& slice = plan_.slices[index];
  Sequence& s = *slice.sequence;
  const int64_t blocks = BlocksFor(s.computed + slice.count + 1);
  if (blocks > static_cast<int64_t>(s.block_table.size())) {
    const bool own = BlocksToGoOn(*plan_.requests[index]) >= blocks;  // among the outstanding
    if (!plan_.lost.empty() || cache_.available() < Outstanding() + !own) return false;
    const Status extended = cache_.Extend(s.block_table, blocks);
    HADAL_CHECK(extended.has_value(), "{}", extended.error().message);
  }
  ++slice.count;
  ++slice.logits;
  ++slice.drafts;
  ++plan_.draft_tokens;
  return true;
}

/// Whether a running request that is served before will soon offer the request's prompt block `index`, with
/// the same beginning. Equal hashes may be of different prompts; the request then waits for nothing, and
/// loses no more.
bool Scheduler::IsBeingComputed(const ScheduledRequest& request, int64_t index) const {
  const size_t i = static_cast<size_t>(index);
  return std::any_of(running_.begin(), running_.end(), [&](const ScheduledRequest* other) {
    return ServedBefore(*other, request) && other->cached_blocks <= index && other->hashes.size() > i &&
           other->hashes[i] == request.hashes[i];
  });
}

/// Blocks with which the request can compute all that it has pending, and the token after that.
int64_t Scheduler::BlocksToGoOn(const ScheduledRequest& request) const {
  return BlocksFor(std::min(request.sequence.length() + 1, options_.context));
}

/// Blocks that running requests will take before they need one more for a token not drawn yet.
int64_t Scheduler::Outstanding() const {
  int64_t blocks = 0;
  for (const ScheduledRequest* request : running_) {
    const int64_t held = static_cast<int64_t>(request->sequence.block_table.size());
    blocks += std::max<int64_t>(BlocksToGoOn(*request) - held, 0);
  }
  return blocks;
}

/// Sees to it that the request's table can have `blocks` entries; false if it was itself the youngest and had
/// to go.
bool Scheduler::MakeRoom(ScheduledRequest& request, int64_t blocks) {
  while (blocks - static_cast<int64_t>(request.sequence.block_table.size()) > cache_.available()) {
    const bool itself = running_.back() == &request;
    PreemptYoungest();
    if (itself) return false;
  }
  return true;
}

void Scheduler::PreemptYoungest() {
  HADAL_CHECK(running() > 1, "the only running request needs more blocks than there are");
  ScheduledRequest& request = *running_.back();
  running_.pop_back();
  Unplan(request);
  cache_.Release(request.sequence.block_table);
  request.sequence.computed = 0;
  request.cached_blocks = 0;
  Add(request);
  plan_.lost.push_back(&request);
}

void Scheduler::PlanSlice(ScheduledRequest& request, int64_t count) {
  Sequence& s = request.sequence;
  const Status extended = cache_.Extend(s.block_table, BlocksFor(s.computed + count));
  HADAL_CHECK(extended.has_value(), "{}", extended.error().message);
  plan_.slices.push_back({&s, count, count == s.pending() ? 1 : 0});
  plan_.requests.push_back(&request);
}

void Scheduler::Unplan(const ScheduledRequest& request) {
  const auto found = std::find(plan_.requests.begin(), plan_.requests.end(), &request);
  if (found == plan_.requests.end()) return;
  const auto slice = plan_.slices.begin() + (found - plan_.requests.begin());
  (request.sequence.pending() == 1 ? plan_.decode_tokens : plan_.prefill_tokens) -= slice->count;
  plan_.slices.erase(slice);
  plan_.requests.erase(found);
}

void Scheduler::Complete() {
  for (ScheduledRequest* request : plan_.requests) {
    Sequence& s = request->sequence;
    const int64_t size = options_.block_size, hashes = static_cast<int64_t>(request->hashes.size());
    for (int64_t& i = request->cached_blocks; i < hashes && (i + 1) * size <= s.computed; ++i) {
      const std::span<const int32_t> ids(s.tokens.data() + i * size, static_cast<size_t>(size));
      cache_.Insert(request->hashes[static_cast<size_t>(i)], ids, i, s.block_table);
    }
  }
}

}  // namespace hadal
