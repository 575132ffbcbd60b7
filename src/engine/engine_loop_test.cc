#include "engine/engine_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <latch>

#include "engine/allocation_counter.h"
#include "engine/engine_loop_test_util.h"

namespace hadal::loop_test {
namespace {

using testing::HasSubstr;

Asked Greedy(std::vector<int32_t> prompt, int64_t max_tokens, int64_t priority = 0) {
  Asked asked;
  asked.prompt = std::move(prompt);
  asked.params.temperature = 0;
  asked.params.max_tokens = max_tokens;
  asked.priority = priority;
  return asked;
}

std::vector<int32_t> Counting(int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back(i % 50 + 1);
  return ids;
}

/// Holds the engine thread inside a delivery until let go, so that a test knows what waits.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    ASSERT_TRUE(changed_.wait_for(lock, kLong, [&] { return open_; }));
  }
  void WaitUntilHeld() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kLong, [&] { return arrived_ > 0; }));
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  bool open_ = false;
};

TEST(EngineLoop, ASharedBeginningIsComputedOnce) {
  auto loop = Must(EngineLoop::Start(Load("v3-tiny-bf16", 4), {.max_running = 4}));
  Inbox first, same, longer;
  Must(loop->Submit(ToRequest(Greedy(Counting(32), 3), first)));
  first.WaitForEnd();
  Must(loop->Submit(ToRequest(Greedy(Counting(32), 3), same)));
  same.WaitForEnd();
  Must(loop->Submit(ToRequest(Greedy(Counting(37), 3), longer)));
  longer.WaitForEnd();
  EXPECT_EQ(first.usage().cached, 0);
  EXPECT_EQ(same.usage().cached, 24) << "the block of the last prompt token is computed for its logits";
  EXPECT_EQ(longer.usage().cached, 32);
  loop->Drain(kLong);
  ExpectNoLeak(*loop);
  EXPECT_EQ(loop->stats().cached_blocks, 4);
}

TEST(EngineLoop, AFullQueueRefusesAndPriorityDecidesWhoIsNext) {
  auto loop = Must(EngineLoop::Start(Load("v3-tiny-bf16", 2), {.max_running = 1, .max_waiting = 3}));
  Gate gate;
  Inbox running, low, high, higher, refused;
  running.OnEvent([&] { gate.Pass(); });
  std::vector<std::string> order;
  low.OnEvent([&] { order.push_back("low"); });
  high.OnEvent([&] { order.push_back("high"); });
  higher.OnEvent([&] { order.push_back("higher"); });
  Must(loop->Submit(ToRequest(Greedy({1, 2}, 1), running)));
  gate.WaitUntilHeld();
  Must(loop->Submit(ToRequest(Greedy({1, 2}, 1, -1), low)));
  Must(loop->Submit(ToRequest(Greedy({1, 2}, 1, 5), high)));
  Must(loop->Submit(ToRequest(Greedy({1, 2}, 1, 9), higher)));
  const Result<RequestId> full = loop->Submit(ToRequest(Greedy({1, 2}, 1), refused));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::kResourceExhausted);
  EXPECT_THAT(full.error().message, HasSubstr("3 requests are waiting"));
  EXPECT_TRUE(loop->stats().work_pending);
  gate.Open();
  loop->Drain(kLong);
  EXPECT_EQ(order, (std::vector<std::string>{"higher", "high", "low"}));
  ExpectNoLeak(*loop);
}

TEST(EngineLoop, DrainingRefusesNewRequestsAndAtTheLimitCancels) {
  auto loop = Must(EngineLoop::Start(Load("v3-tiny-bf16", 2), {.max_running = 1}));
  Inbox running, waiting, late;
  Gate gate;
  running.OnEvent([&] { gate.Pass(); });
  Must(loop->Submit(ToRequest(Greedy({3, 4, 5}, 60), running)));
  Must(loop->Submit(ToRequest(Greedy({3, 4, 5}, 60), waiting)));
  gate.WaitUntilHeld();
  std::thread drain([&] { loop->Drain(milliseconds(0)); });
  // The drain has begun once the loop refuses; until then requests queue up and are cancelled with the rest.
  std::vector<std::unique_ptr<Inbox>> more;
  for (Code code = Code::kResourceExhausted; code != Code::kUnavailable;) {
    if (more.empty() || code == Code::kInternal) more.push_back(std::make_unique<Inbox>());
    const Result<RequestId> id = loop->Submit(ToRequest(Greedy({3}, 1), *more.back()));
    code = id ? Code::kInternal : id.error().code;  // kInternal: this inbox is taken
    ASSERT_TRUE(id || code == Code::kUnavailable || code == Code::kResourceExhausted);
  }
  gate.Open();
  drain.join();
  ASSERT_TRUE(running.finished() && waiting.finished());
  EXPECT_EQ(waiting.last().reason, FinishReason::kCancelled);
  EXPECT_EQ(waiting.last().token, -1);
  ExpectNoLeak(*loop);
}

TEST(EngineLoop, CancelledRequestsEndAtOnceAndOthersGoOn) {
  auto engine = Load("v3-tiny-bf16", 2);
  const Asked stays = Greedy(Counting(9), 12), goes = Greedy(Counting(20), 60);
  const Truth truth = Alone(*engine, stays);
  auto loop = Must(EngineLoop::Start(std::move(engine), {.max_running = 2}));
  Inbox a, b;
  RequestId id = 0;
  Gate gate;
  b.OnEvent([&] {
    if (b.events().size() == 1) gate.Pass();
    if (b.events().size() == 2) loop->Cancel(id);  // from the engine thread itself
  });
  id = Must(loop->Submit(ToRequest(goes, b)));
  gate.WaitUntilHeld();
  Must(loop->Submit(ToRequest(stays, a)));
  gate.Open();
  loop->Drain(kLong);
  EXPECT_EQ(b.last().reason, FinishReason::kCancelled);
  EXPECT_EQ(b.events().size(), 2u) << "no token after the step in which it was cancelled";
  ExpectTruth(a, truth, stays);
  loop->Cancel(id);
  loop->Cancel(12345);
  ExpectNoLeak(*loop);
}

TEST(EngineLoop, ARequestThatIsFinishedEndsAsStoppedAfterThatToken) {
  auto engine = Load("v3-tiny-bf16", 1);
  const Asked asked = Greedy(Counting(9), 40);
  const Truth truth = Alone(*engine, asked);
  auto loop = Must(EngineLoop::Start(std::move(engine), {.max_running = 1}));
  Inbox inbox;
  RequestId id = 0;
  Gate gate;
  inbox.OnEvent([&] {
    if (inbox.events().size() == 1) gate.Pass();
    if (inbox.events().size() == 3) {
      loop->Finish(id);
      loop->Cancel(id);  // too late
    }
  });
  id = Must(loop->Submit(ToRequest(asked, inbox)));
  gate.WaitUntilHeld();
  gate.Open();
  loop->Drain(kLong);
  EXPECT_EQ(inbox.last().reason, FinishReason::kStop);
  EXPECT_EQ(inbox.last().token, -1);
  EXPECT_EQ(inbox.usage().generated, 3);
  ExpectPrefixOfTruth(inbox, truth, asked);
  ExpectNoLeak(*loop);
}

TEST(EngineLoop, TheDestructorEndsWhatIsLeft) {
  Inbox running, waiting;
  {
    auto loop = Must(EngineLoop::Start(Load("v3-tiny-bf16", 1), {.max_running = 1}));
    Must(loop->Submit(ToRequest(Greedy({3, 4, 5}, 90), running)));
    Must(loop->Submit(ToRequest(Greedy({3, 4, 5}, 90), waiting)));
  }
  EXPECT_TRUE(running.finished());
  EXPECT_TRUE(waiting.finished());
}

TEST(EngineLoop, RequestsThatMakeNoSenseAreRefusedWithTheNumbers) {
  auto loop = Must(EngineLoop::Start(Load("v3-tiny-bf16", 1), {.max_running = 1}));
  Inbox inbox;
  const auto message = [&](const Asked& asked) {
    const Result<RequestId> refused = loop->Submit(ToRequest(asked, inbox));
    EXPECT_FALSE(refused);
    return refused ? std::string()
                   : std::string(CodeName(refused.error().code)) + ": " + refused.error().message;
  };
  EXPECT_THAT(message(Greedy({}, 1)), HasSubstr("invalid_argument: the prompt has no tokens"));
  EXPECT_THAT(message(Greedy(Counting(kContext), 1)),
              HasSubstr("the prompt has 96 tokens and the context holds 96"));
  EXPECT_THAT(message(Greedy({1, -2}, 1)), HasSubstr("token 1 of the sequence is -2"));
  EXPECT_THAT(message(Greedy({1}, 0)), HasSubstr("max_tokens is 0"));
  Asked asked = Greedy({1}, 1);
  asked.logprobs = 21;
  EXPECT_THAT(message(asked), HasSubstr("top_logprobs is 21"));
  // The longest prompt that leaves room for a token.
  Must(loop->Submit(ToRequest(Greedy(Counting(kContext - 1), 50), inbox)));
  loop->Drain(kLong);
  EXPECT_EQ(inbox.last().reason, FinishReason::kContext);
  EXPECT_EQ(inbox.events().size(), 1u);
}

TEST(EngineLoop, OptionsOutOfRangeAreRefused) {
  for (const LoopOptions& options : {LoopOptions{.max_running = 0}, LoopOptions{.max_running = 17},
                                     LoopOptions{.max_waiting = 0}, LoopOptions{.target_tpot_ms = NAN}}) {
    const auto loop = EngineLoop::Start(Load("v3-tiny-bf16", 1), options);
    ASSERT_FALSE(loop);
    EXPECT_EQ(loop.error().code, Code::kInvalidArgument);
  }
}

/// Twice the same requests in a pool too small for them, on one thread: the second time everything has its
/// room.
void ExpectNoAllocations(std::unique_ptr<EngineLoop> loop) {
  std::vector<Asked> asked = RandomRequests(12, 4, loop->engine().config().vocab_size);
  std::latch waves[] = {std::latch(12), std::latch(12)};
  int64_t first = -1, last = -1, preempted = 0;
  for (int wave = 0; wave < 2; ++wave) {
    first = last = -1;
    preempted = loop->stats().preemptions;
    std::latch& ended = waves[wave];
    for (Asked& a : asked) {
      a.params.max_tokens = 60;
      a.stop_ids.clear();
      Inbox unused;
      GenerationRequest request = ToRequest(a, unused);
      request.deliver = [&](const TokenEvent& event, const Usage&) {
        last = AllocationsOfThisThread();
        if (first < 0) first = last;
        if (event.finished) ended.count_down();
      };
      Must(loop->Submit(std::move(request)));
    }
    ended.wait();
  }
  loop->Drain(kLong);
  EXPECT_GT(loop->stats().preemptions, preempted) << "preemption is part of what is measured";
  EXPECT_EQ(last, first);
}

TEST(EngineLoop, AStepAllocatesNothing) {
  ExpectNoAllocations(Must(EngineLoop::Start(Load("v3-tiny-bf16", 2, 1), {.max_running = 8})));
}

TEST(EngineLoop, AStepWithGuessesAllocatesNothing) {
  ExpectNoAllocations(Must(EngineLoop::Start(
      Load("v3-tiny-mtp", 2, 1, /*mtp=*/true),
      {.max_running = 8, .speculative = Speculation::kMtp, .speculative_tokens = 3})));
}

/// Allows anything, but only after `work` steps of work for each token.
class Slow final : public TokenConstraint {
 public:
  Slow(int64_t vocab, int64_t work) : work_(work), mask_(static_cast<size_t>(vocab + 63) / 64, ~uint64_t{0}) {}
  Result<bool> Prepare(int64_t& work) override {
    most_ = std::max(most_, work);
    const int64_t done = std::min(work, work_ - done_);
    done_ += done;
    work -= done;
    return done_ == work_;
  }
  Result<std::span<const uint64_t>> Allowed() override {
    EXPECT_EQ(done_, work_);
    return std::span<const uint64_t>(mask_);
  }
  void Accept(int32_t) override { done_ = 0; }
  bool MustEnd() const override { return false; }
  void Rest() override { done_ = 0; }
  /// The most that was allowed at once.
  int64_t most() const { return most_; }

 private:
  int64_t work_, done_ = 0, most_ = 0;
  std::vector<uint64_t> mask_;
};

/// Masks that take longer than a step has time for come later, for their request alone; all tokens are the same.
void ExpectSlowMasksDelayTheirOwn(const std::string& folder, bool guesses, size_t prompt) {
  auto engine = Load(folder, 4, 2, guesses);
  const int64_t vocab = engine->config().vocab_size;
  std::vector<Asked> asked;
  std::vector<Truth> truths;
  for (int i = 0; i < 4; ++i) {
    Asked one = Greedy(Counting(static_cast<int>(prompt)), 20);
    one.prompt.back() = 100 + i;
    one.params.temperature = 1;
    one.params.seed = static_cast<uint64_t>(i);
    one.logprobs = 1;
    truths.push_back(Alone(*engine, one));
    asked.push_back(one);
  }
  LoopOptions options{.max_running = 4};
  if (guesses) options.speculative = Speculation::kMtp;
  options.guess_cost = 0;
  auto loop = Must(EngineLoop::Start(std::move(engine), options));
  // Twice, so that the second time the prompts come from the prefix cache.
  for (int time = 0; time < 2; ++time) {
    std::vector<Inbox> inboxes(4);
    std::vector<std::shared_ptr<Slow>> slow;
    for (size_t i = 0; i < 4; ++i) {
      GenerationRequest request = ToRequest(asked[i], inboxes[i]);
      // Three of two threads' 2 million steps a token; the last request has no constraint.
      if (i < 3) request.constraint = slow.emplace_back(std::make_shared<Slow>(vocab, 4'000'000));
      Must(loop->Submit(std::move(request)));
    }
    for (Inbox& inbox : inboxes) inbox.WaitForEnd();
    for (size_t i = 0; i < 4; ++i) ExpectTruth(inboxes[i], truths[i], asked[i]);
    for (const auto& one : slow) EXPECT_LE(one->most(), 2'000'000);
  }
  loop->Drain(kLong);
  // A token takes two steps where one request is left, four where three share two threads.
  EXPECT_GE(loop->stats().mask_waits, 2 * 3 * 20);
  EXPECT_EQ(loop->stats().generated_tokens, 2 * 4 * 20);
  ExpectNoLeak(*loop);
}

TEST(EngineLoop, SlowMasksDelayTheirOwnRequestAndNoOther) { ExpectSlowMasksDelayTheirOwn("v3-tiny-bf16", false, 21); }

TEST(EngineLoop, SlowMasksAfterWholeBlocksOfThePrompt) { ExpectSlowMasksDelayTheirOwn("v3-tiny-bf16", false, 24); }

TEST(EngineLoop, SlowMasksBesideGuesses) {
  ExpectSlowMasksDelayTheirOwn("v3-tiny-mtp", true, 21);
  ExpectSlowMasksDelayTheirOwn("v3-tiny-mtp", true, 24);
}

/// Damages the first of some weights for the lifetime of the object. The engine thread must be idle at both
/// ends; the requests between hand the value over.
class Damage {
 public:
  explicit Damage(const float* weight) : weight_(const_cast<float*>(weight)), before_(*weight) {
    *weight_ = NAN;
  }
  ~Damage() { *weight_ = before_; }

 private:
  float* weight_;
  float before_;
};

/// One request meets the damage, the same again does not.
void FailAndRecover(const float* weight, std::unique_ptr<Engine> engine, const std::string& message,
                    int64_t failed_steps) {
  const Asked asked = Greedy(Counting(20), 5);
  const Truth truth = Alone(*engine, asked);
  std::unique_ptr<EngineLoop> loop;
  Inbox failed, recovered;
  {
    const Damage damage(weight);
    loop = Must(EngineLoop::Start(std::move(engine), {.max_running = 2}));
    Must(loop->Submit(ToRequest(asked, failed)));
    failed.WaitForEnd();
  }
  ASSERT_EQ(failed.last().reason, FinishReason::kError);
  EXPECT_EQ(failed.last().error.code, Code::kDataLoss);
  EXPECT_THAT(failed.last().error.message, HasSubstr(message));
  Must(loop->Submit(ToRequest(asked, recovered)));
  loop->Drain(kLong);
  ExpectTruth(recovered, truth, asked);
  EXPECT_EQ(recovered.usage().cached, 0) << "nothing of a failed request stays in the prefix cache";
  EXPECT_EQ(loop->stats().failed_steps, failed_steps);
  ExpectNoLeak(*loop);
}

TEST(EngineLoop, AFailedStepFailsItsRequestsAndTheLoopGoesOn) {
  auto engine = Load("v3-tiny-bf16", 2);
  const float* norm = nullptr;  // before a router, which then sees NaN
  for (const LayerWeights& layer : engine->weights().layers)
    if (layer.moe) norm = layer.ffn_norm;
  ASSERT_NE(norm, nullptr);
  FailAndRecover(norm, std::move(engine), "router logit", 1);
}

TEST(EngineLoop, LogitsThatAreNoNumbersFailTheRequestAndTheLoopGoesOn) {
  auto engine = Load("v3-tiny-bf16", 2);
  const float* norm = engine->weights().final_norm;
  FailAndRecover(norm, std::move(engine), "the logit of token", 0);
}

}  // namespace
}  // namespace hadal::loop_test
