// Policy: which tokens of which requests go into the next step, and who gives way when cache blocks run out.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "engine/prefix_cache.h"
#include "engine/sequence.h"

namespace hadal {

/// A request as the scheduler sees it. Its sequence's block table must have room for the context's blocks
/// reserved, or scheduling allocates.
struct ScheduledRequest {
  uint64_t arrival = 0;  // unique
  int64_t priority = 0;  // higher first
  Sequence sequence;
  std::vector<BlockHash> hashes;  // PrefixCache::Hashes of the prompt
  int64_t cached_blocks =
      0;  // blocks at the table's start that were found in, or offered to, the prefix cache
  int64_t prefix_tokens = -1;  // found in the prefix cache when it first started; -1: has not started
  int64_t most_tokens = std::numeric_limits<int64_t>::max();  // of prompt and answer; there is no guessing beyond
  int64_t most_drafts = std::numeric_limits<int64_t>::max();  // guesses in the next step, up to the options'
};

/// Whether `a` is served before `b`: by priority, then arrival. The last in this order is the youngest.
bool ServedBefore(const ScheduledRequest& a, const ScheduledRequest& b);

struct SchedulerOptions {
  int64_t step_tokens = 512;
  int64_t max_running = 16;    // at most step_tokens, so that a step has room for a token of each
  int64_t max_requests = 272;  // running and waiting, for which room is reserved
  int64_t context = 4096;      // at most what all blocks hold, so that every request fits alone
  int64_t block_size = 64;
  int64_t drafts = 0;        // tokens that may be guessed for a decoding request in a step
  int64_t logit_rows = 272;  // of a step: at least max_running, and what is more may go to guesses
};

/// The next step. The slices' block tables are extended already.
struct StepPlan {
  std::vector<Slice> slices;
  std::vector<ScheduledRequest*> requests;  // the slices'
  std::vector<ScheduledRequest*> started;   // for the first time
  int64_t decode_tokens = 0;                // of requests with a single token pending
  int64_t draft_tokens = 0;                 // guesses beside them: Slice::drafts in all
  int64_t prefill_tokens = 0;               // of the others: prompts, and what is computed again
  std::vector<ScheduledRequest*> lost;      // preempted: they have no blocks any more
  void Clear();
};

/// Queues of requests, and their cache blocks. Every step, in this order:
///
///   1. Decode: each running request with one pending token gets it.
///   2. Prefill: running requests get what is left of the budget, in order of service.
///   3. Admission: waiting requests start, in order of service and without overtaking, if all that they have
///      pending fits into the blocks that running ones do not need for what they have pending, and a token of
///      the budget is left. One whose prompt begins like that of a running request waits until that has
///      computed what they share.
///   4. Guesses: decoding requests may have tokens guessed after the one they have, a first for each before a
///      second for any, from what the others have left of logit rows, tokens and blocks; for their tokens up to
///      half of the step beyond decoding was kept from 2 and 3. They preempt nobody.
///
/// A running request for which blocks are short takes them from the youngest running one: that loses all its
/// blocks and waits, to be computed again later (tokens keep their roles). No request starts in such a step.
/// The first in order of service can take from all others and fits alone, so it always proceeds: nothing
/// starves but by priority.
///
/// Pure policy: knows no model and no clock. Not thread-safe. The results of requests do not depend on it.
class Scheduler {
 public:
  /// `cache` and its pool must outlive the scheduler.
  Scheduler(const SchedulerOptions& options, PrefixCache& cache);

  /// Adds a request, which must live until it is removed; none of it is computed.
  void Add(ScheduledRequest& request);
  /// Takes a request out and gives its blocks back; with `distrust` the prefix cache forgets them.
  void Remove(ScheduledRequest& request, bool distrust);

  /// The next step; valid until the next call (the requests in it may be removed). Not empty if there are
  /// requests. prefill_budget: tokens that 2 and 3 may take at most beside decoding requests, at least 1.
  const StepPlan& Schedule(int64_t prefill_budget);
  /// After the planned step has succeeded and its slices are marked computed: offers full blocks to the
  /// prefix cache.
  void Complete();

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  bool empty() const { return running_.empty() && waiting_.empty(); }

 private:
  int64_t BlocksFor(int64_t tokens) const { return (tokens + options_.block_size - 1) / options_.block_size; }
  bool IsBeingComputed(const ScheduledRequest& request, int64_t index) const;
  int64_t BlocksToGoOn(const ScheduledRequest& request) const;
  int64_t Outstanding() const;

  void Decode();
  void Prefill(int64_t& room);
  void Admit(int64_t& room);
  int64_t MostDrafts(const ScheduledRequest& request) const;
  int64_t RoomForDrafts() const;
  void Guess(int64_t room);
  bool AddDraft(size_t index);
  bool MakeRoom(ScheduledRequest& request, int64_t blocks);
  void PreemptYoungest();
  void PlanSlice(ScheduledRequest& request, int64_t count);
  void Unplan(const ScheduledRequest& request);

  const SchedulerOptions options_;
  PrefixCache& cache_;
  std::vector<ScheduledRequest*> running_;  // in order of service
  std::vector<ScheduledRequest*> waiting_;  // in reverse, so that the next is at the end
  StepPlan plan_;
};

}  // namespace hadal
