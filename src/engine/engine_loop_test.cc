// The loop gives every request what it gets alone, bit for bit, whatever else goes on.
#include "engine/engine_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <latch>
#include <random>

#include "engine/allocation_counter.h"
#include "engine/logprobs.h"
#include "model/golden_util.h"

namespace hadal {
namespace {

using golden::Must;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr int64_t kContext = 96;
constexpr int64_t kBlock = 8;
// Drain ends as soon as the requests have; this is the limit beyond which a test is hung.
constexpr milliseconds kLong{300'000};

/// `contexts`: how many full contexts the cache holds.
std::unique_ptr<Engine> Load(const std::string& folder, int64_t contexts, int threads = 2) {
  EngineOptions options;
  options.context = kContext;
  options.sequences = contexts;
  options.step_tokens = 40;
  options.logit_rows = 16;
  options.block_size = kBlock;
  options.threads = threads;
  return Must(Engine::Load(golden::Folder(folder), options));
}

/// What a request delivered. The engine thread writes, the test reads when the loop is drained or finished()
/// is true.
class Inbox {
 public:
  std::function<void(const TokenEvent&, const Usage&)> Receiver() {
    return [this](const TokenEvent& event, const Usage& usage) {
      std::lock_guard lock(mutex_);
      EXPECT_FALSE(finished_) << "an event after the last";
      if (event.token >= 0) events_.push_back(event);
      finished_ = event.finished;
      last_ = event;
      usage_ = usage;
      changed_.notify_all();
      if (on_event_) on_event_();
    };
  }
  /// Called from the engine thread at each event, from now on.
  void OnEvent(std::function<void()> call) { on_event_ = std::move(call); }
  void WaitFor(size_t tokens) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kLong, [&] { return events_.size() >= tokens || finished_; }));
  }
  void WaitForEnd() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kLong, [&] { return finished_; }));
  }
  bool finished() const { return finished_; }
  const std::vector<TokenEvent>& events() const { return events_; }
  const TokenEvent& last() const { return last_; }
  const Usage& usage() const { return usage_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> on_event_;
  std::vector<TokenEvent> events_;
  bool finished_ = false;
  TokenEvent last_;
  Usage usage_;
};

/// A request without its receiver.
struct Asked {
  std::vector<int32_t> prompt;
  SamplingParams params;
  std::vector<int64_t> stop_ids;
  int64_t priority = 0;
  int logprobs = -1;
};

GenerationRequest ToRequest(const Asked& asked, Inbox& inbox) {
  return {asked.prompt, asked.params, asked.stop_ids, asked.priority, asked.logprobs, inbox.Receiver()};
}

struct Truth {
  std::vector<int32_t> tokens;
  std::vector<double> logprobs;
  FinishReason reason;
};

/// The request alone, through Generate; logprobs from a pass of its own over each prefix.
Truth Alone(Engine& engine, const Asked& asked) {
  Truth truth;
  const int64_t vocab = engine.config().vocab_size;
  Sampler sampler = Must(Sampler::Create(asked.params, vocab));
  SamplerScratch scratch = Must(SamplerScratch::Create(vocab));
  for (const int32_t id : asked.prompt) sampler.Observe(id, true);
  Sequence sequence;
  SetPrompt(sequence, asked.prompt);
  truth.reason = Must(Generate(engine, sequence, sampler, scratch, asked.stop_ids, [&](int32_t token) {
    truth.tokens.push_back(token);
    return true;
  }));
  engine.blocks().Release(sequence.block_table);
  Sequence again;
  SetPrompt(again, asked.prompt);
  Sequence* const only[] = {&again};
  std::vector<float> logits;
  for (const int32_t token : truth.tokens) {
    Must(Prefill(engine, only, logits));
    truth.logprobs.push_back(LogSoftmax(logits)[token]);
    again.tokens.push_back(token);
  }
  engine.blocks().Release(again.block_table);
  return truth;
}

bool SameBits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void ExpectPrefixOfTruth(const Inbox& inbox, const Truth& truth, const Asked& asked) {
  ASSERT_LE(inbox.events().size(), truth.tokens.size());
  for (size_t i = 0; i < inbox.events().size(); ++i) {
    const TokenEvent& event = inbox.events()[i];
    ASSERT_EQ(event.token, truth.tokens[i]) << "token " << i;
    if (asked.logprobs < 0) continue;
    ASSERT_TRUE(SameBits(event.logprob, truth.logprobs[i])) << "token " << i;
    ASSERT_EQ(event.top.size(), static_cast<size_t>(asked.logprobs));
  }
}

void ExpectTruth(const Inbox& inbox, const Truth& truth, const Asked& asked) {
  ASSERT_TRUE(inbox.finished());
  ExpectPrefixOfTruth(inbox, truth, asked);
  EXPECT_EQ(inbox.events().size(), truth.tokens.size());
  EXPECT_EQ(inbox.last().reason, truth.reason);
  EXPECT_EQ(inbox.usage().generated, static_cast<int64_t>(truth.tokens.size()));
  EXPECT_EQ(inbox.usage().prompt, static_cast<int64_t>(asked.prompt.size()));
}

/// After everything has ended: blocks are free or in the prefix cache.
void ExpectNoLeak(const EngineLoop& loop) {
  const LoopStats stats = loop.stats();
  EXPECT_EQ(stats.free_blocks + stats.cached_blocks, stats.total_blocks);
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_FALSE(stats.work_pending);
}

Asked RandomRequest(std::mt19937& random, int64_t vocab,
                    const std::vector<std::vector<int32_t>>& beginnings) {
  Asked asked;
  if (random() % 3 != 0) asked.prompt = beginnings[random() % beginnings.size()];
  asked.prompt.resize(std::min<size_t>(asked.prompt.size(), 1 + random() % 60));
  const size_t more = 1 + random() % 20;
  for (size_t i = 0; i < more; ++i) asked.prompt.push_back(static_cast<int32_t>(random() % vocab));
  asked.params.max_tokens = 1 + random() % 40;
  asked.params.temperature = random() % 2 ? 0 : 0.9;
  asked.params.seed = random();
  asked.params.repetition_penalty = random() % 3 ? 1 : 1.2;
  asked.params.top_p = random() % 2 ? 1 : 0.8;
  asked.priority = static_cast<int64_t>(random() % 3) - 1;
  asked.logprobs = random() % 2 ? static_cast<int>(random() % 6) : -1;
  for (int i = 0; i < 8; ++i) asked.stop_ids.push_back(static_cast<int64_t>(random() % vocab));
  return asked;
}

std::vector<Asked> RandomRequests(size_t count, unsigned seed, int64_t vocab) {
  std::mt19937 random(seed);
  std::vector<std::vector<int32_t>> beginnings(3);
  for (auto& beginning : beginnings)
    for (int i = 0; i < 60; ++i) beginning.push_back(static_cast<int32_t>(random() % vocab));
  std::vector<Asked> all;
  for (size_t i = 0; i < count; ++i) all.push_back(RandomRequest(random, vocab, beginnings));
  return all;
}

struct Setting {
  std::string name;
  std::string folder;
  int64_t contexts;
  LoopOptions options;
  int threads = 2;
};

void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

class EngineLoopTest : public testing::TestWithParam<Setting> {};

/// Submits from two threads, each waiting now and then until one of its requests is under way; some are
/// cancelled.
TEST_P(EngineLoopTest, EveryRequestGetsWhatItGetsAlone) {
  const Setting& setting = GetParam();
  constexpr size_t kCount = 48;
  auto engine = Load(setting.folder, setting.contexts, setting.threads);
  const std::vector<Asked> asked = RandomRequests(kCount, 7, engine->config().vocab_size);
  std::vector<Truth> truths;
  for (const Asked& a : asked) truths.push_back(Alone(*engine, a));

  auto loop = Must(EngineLoop::Start(std::move(engine), setting.options));
  std::vector<Inbox> inboxes(kCount);
  std::vector<char> cancelled(kCount, false);
  const auto submit = [&](size_t first) {
    std::mt19937 random(static_cast<unsigned>(first) + 3);
    for (size_t i = first; i < kCount; i += 2) {
      const RequestId id = Must(loop->Submit(ToRequest(asked[i], inboxes[i])));
      if (random() % 4 == 0) inboxes[i].WaitFor(1 + random() % 3);
      if (random() % 5 == 0) {
        loop->Cancel(id);
        cancelled[i] = true;
      }
    }
  };
  std::thread other(submit, 1);
  submit(0);
  other.join();
  loop->Drain(kLong);

  for (size_t i = 0; i < kCount; ++i) {
    SCOPED_TRACE(testing::Message() << "request " << i);
    if (cancelled[i] && inboxes[i].last().reason == FinishReason::kCancelled)
      ExpectPrefixOfTruth(inboxes[i], truths[i], asked[i]);
    else
      ExpectTruth(inboxes[i], truths[i], asked[i]);
  }
  ExpectNoLeak(*loop);
  const LoopStats stats = loop->stats();
  EXPECT_EQ(stats.finished_requests, static_cast<int64_t>(kCount));
  if (setting.options.prefix_cache) {
    EXPECT_GT(stats.prefix_hit_tokens, 0);
  } else {
    EXPECT_EQ(stats.prefix_hit_tokens + stats.cached_blocks, 0);
  }
  if (setting.contexts == 1 && setting.options.max_running > 1)
    EXPECT_GT(stats.preemptions, 0) << "the pool was not small enough to test preemption";
}

INSTANTIATE_TEST_SUITE_P(
    Settings, EngineLoopTest,
    testing::Values(
        Setting{"roomy", "v3-tiny-bf16", 8, {.max_running = 8}},
        Setting{"tight", "v3-tiny-bf16", 1, {.max_running = 8}},
        Setting{"tight_without_prefix_cache", "v3-tiny-bf16", 1, {.max_running = 8, .prefix_cache = false}},
        Setting{"tight_with_target", "v3-tiny-mtp", 1, {.max_running = 6, .target_tpot_ms = 0.01}},
        Setting{"one_thread", "v3-tiny-fp8", 2, {.max_running = 3}, 1},
        Setting{"one_at_a_time", "moonlight-tiny", 1, {.max_running = 1, .prefix_cache = true}, 3}),
    [](const auto& setting) { return setting.param.name; });

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
TEST(EngineLoop, AStepAllocatesNothing) {
  auto loop = Must(EngineLoop::Start(Load("v3-tiny-bf16", 2, 1), {.max_running = 8}));
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
}  // namespace hadal
