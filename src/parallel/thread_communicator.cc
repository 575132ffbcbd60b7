#include "parallel/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include "base/check.h"

namespace hadal {
namespace {

using Message = std::vector<std::byte>;

/// What all ranks share: messages on their way, by (group, from, to) in world ranks, and who has left.
struct World {
  explicit World(int ranks, std::chrono::milliseconds wait) : limit(wait), gone(ranks, false) {}

  void Put(int64_t group, int from, int to, std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex);
    mail[{group, from, to}].emplace_back(bytes.begin(), bytes.end());
    arrived.notify_all();
  }

  Status Take(int64_t group, int from, int to, std::span<std::byte> bytes, const char* what) {
    std::unique_lock lock(mutex);
    auto& queue = mail[{group, from, to}];
    bool came = false;
    // Long work that a rank announced does not count, nor does the time before it ended.
    for (int64_t ended = -1; !came && (working > 0 || ended != works_ended);) {
      ended = works_ended;
      came = arrived.wait_for(lock, limit, [&] { return !queue.empty() || gone[from]; });
    }
    if (queue.empty())
      return Unavailable("rank {} {} while rank {} waited for its {}", from,
                         came ? "has ended" : fmt::format("did not answer within {} ms", limit.count()), to, what);
    const Message message = std::move(queue.front());
    queue.pop_front();
    HADAL_CHECK(message.size() == bytes.size(), "{}: rank {} sent {} bytes, rank {} expected {}", what, from,
                message.size(), to, bytes.size());
    std::memcpy(bytes.data(), message.data(), bytes.size());
    return {};
  }

  void Work(int change) {
    const std::lock_guard lock(mutex);
    working += change;
    if (change < 0) ++works_ended;
  }

  void Leave(int rank) {
    const std::lock_guard lock(mutex);
    gone[rank] = true;
    arrived.notify_all();
  }

  const std::chrono::milliseconds limit;
  std::mutex mutex;
  std::condition_variable arrived;
  std::map<std::tuple<int64_t, int, int>, std::deque<Message>> mail;
  std::vector<bool> gone;
  int working = 0;          // ranks that do long work of their own
  int64_t works_ended = 0;  // so often
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<World> world, int64_t group, std::vector<int> members, int rank)
      : world_(std::move(world)), group_(group), members_(std::move(members)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }

  Status AllGather(std::span<const std::byte> mine, std::span<std::byte> all, const char* what) override {
    HADAL_CHECK(all.size() == mine.size() * members_.size(), "{}: {} bytes into {}", what, mine.size(), all.size());
    const Message own(mine.begin(), mine.end());  // `mine` may lie inside `all`
    for (int r = 0; r < size(); ++r)
      if (r != rank_) RETURN_IF_ERROR(Send(r, own, what));
    for (int r = 0; r < size(); ++r) {
      const std::span<std::byte> part = all.subspan(r * own.size(), own.size());
      if (r == rank_) std::ranges::copy(own, part.begin());
      else RETURN_IF_ERROR(Receive(r, part, what));
    }
    return {};
  }

  Status AllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t> receive_bytes, const char* what) override {
    for (int r = 0; r < size(); send += send_bytes[r], ++r)
      RETURN_IF_ERROR(Send(r, std::span(send, static_cast<size_t>(send_bytes[r])), what));
    for (int r = 0; r < size(); receive += receive_bytes[r], ++r)
      RETURN_IF_ERROR(Receive(r, std::span(receive, static_cast<size_t>(receive_bytes[r])), what));
    return {};
  }

  Status Send(int to, std::span<const std::byte> bytes, const char*) override {
    world_->Put(group_, members_[rank_], members_[to], bytes);
    return {};
  }

  Status Receive(int from, std::span<std::byte> bytes, const char* what) override {
    return world_->Take(group_, members_[from], members_[rank_], bytes, what);
  }

  Status Barrier(const char* what) override {
    std::byte mine{};
    std::vector<std::byte> all(members_.size());
    return AllGather({&mine, 1}, all, what);
  }

  void Works(const char*) override { world_->Work(1); }
  void Worked() override { world_->Work(-1); }

  Result<std::unique_ptr<Communicator>> Split(int color, int key) override {
    struct Choice {
      int color, key;
    } mine{color, key};
    std::vector<Choice> choices(members_.size());
    RETURN_IF_ERROR(AllGather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(choices)), "split"));
    std::vector<int> ranks;
    for (int r = 0; r < size(); ++r)
      if (choices[r].color == color) ranks.push_back(r);
    std::ranges::sort(ranks, {}, [&](int r) { return std::pair(choices[r].key, r); });
    const auto place = std::ranges::find(ranks, rank_) - ranks.begin();
    std::vector<int> members;
    for (const int r : ranks) members.push_back(members_[r]);
    // The same number on every member, and on no other group: groups of one split share no pair of ranks.
    const int64_t group = group_ * 1024 + ++splits_;
    return std::make_unique<ThreadCommunicator>(world_, group, std::move(members), static_cast<int>(place));
  }

 private:
  const std::shared_ptr<World> world_;
  const int64_t group_;
  const std::vector<int> members_;  // world ranks
  const int rank_;
  int64_t splits_ = 0;
};

}  // namespace

Status RunRanks(int ranks, std::chrono::milliseconds limit, const std::function<Status(Communicator& world)>& body) {
  const auto world = std::make_shared<World>(ranks, limit);
  std::vector<int> members(ranks);
  for (int r = 0; r < ranks; ++r) members[r] = r;
  std::vector<Status> results(ranks);
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      ThreadCommunicator communicator(world, 1, members, r);
      results[r] = body(communicator);
      world->Leave(r);
    });
  for (std::thread& thread : threads) thread.join();
  for (Status& result : results)
    if (!result) return std::move(result);
  return {};
}

}  // namespace hadal
