// For tests of the loop: requests, what they get alone, and what arrives.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>

#include "engine/engine_loop.h"
#include "engine/logprobs.h"
#include "model/golden_util.h"

namespace hadal::loop_test {

using golden::Must;
using std::chrono::milliseconds;

inline constexpr int64_t kContext = 96;
inline constexpr int64_t kBlock = 8;
// Drain ends as soon as the requests have; this is the limit beyond which a test is hung.
inline constexpr milliseconds kLong{300'000};

/// `contexts`: how many full contexts the cache holds. `mtp`: with the prediction layer, and logits for guesses.
inline std::unique_ptr<Engine> Load(const std::string& folder, int64_t contexts, int threads = 2, bool mtp = false) {
  EngineOptions options;
  options.context = kContext;
  options.sequences = contexts;
  options.step_tokens = 40;
  options.logit_rows = 16;
  options.load.mtp = mtp;
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

inline GenerationRequest ToRequest(const Asked& asked, Inbox& inbox) {
  return {asked.prompt, asked.params, asked.stop_ids, asked.priority, asked.logprobs, inbox.Receiver()};
}

struct Truth {
  std::vector<int32_t> tokens;
  std::vector<double> logprobs;
  FinishReason reason;
};

/// The request alone, through Generate; logprobs from a pass of its own over each prefix.
inline Truth Alone(Engine& engine, const Asked& asked) {
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

inline bool SameBits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

inline void ExpectPrefixOfTruth(const Inbox& inbox, const Truth& truth, const Asked& asked) {
  ASSERT_LE(inbox.events().size(), truth.tokens.size());
  for (size_t i = 0; i < inbox.events().size(); ++i) {
    const TokenEvent& event = inbox.events()[i];
    ASSERT_EQ(event.token, truth.tokens[i]) << "token " << i;
    if (asked.logprobs < 0) continue;
    ASSERT_TRUE(SameBits(event.logprob, truth.logprobs[i])) << "token " << i;
    ASSERT_EQ(event.top.size(), static_cast<size_t>(asked.logprobs));
  }
}

inline void ExpectTruth(const Inbox& inbox, const Truth& truth, const Asked& asked) {
  ASSERT_TRUE(inbox.finished());
  ExpectPrefixOfTruth(inbox, truth, asked);
  EXPECT_EQ(inbox.events().size(), truth.tokens.size());
  EXPECT_EQ(inbox.last().reason, truth.reason);
  EXPECT_EQ(inbox.usage().generated, static_cast<int64_t>(truth.tokens.size()));
  EXPECT_EQ(inbox.usage().prompt, static_cast<int64_t>(asked.prompt.size()));
}

/// After everything has ended: blocks are free or in the prefix cache.
inline void ExpectNoLeak(const EngineLoop& loop) {
  const LoopStats stats = loop.stats();
  EXPECT_EQ(stats.free_blocks + stats.cached_blocks, stats.total_blocks);
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_FALSE(stats.work_pending);
}

inline Asked RandomRequest(std::mt19937& random, int64_t vocab,
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
  if (random() % 2) {
    // Few tokens to choose from, so that guesses come true now and then.
    const int64_t first = static_cast<int64_t>(random() % vocab);
    for (int64_t i = 0; i < 3; ++i)
      asked.params.logit_bias.emplace_back(static_cast<int32_t>((first + i * 7) % vocab), 60.0f);
  }
  for (int i = 0; i < 8; ++i) asked.stop_ids.push_back(static_cast<int64_t>(random() % vocab));
  return asked;
}

inline std::vector<Asked> RandomRequests(size_t count, unsigned seed, int64_t vocab) {
  std::mt19937 random(seed);
  std::vector<std::vector<int32_t>> beginnings(3);
  for (auto& beginning : beginnings)
    for (int i = 0; i < 60; ++i) beginning.push_back(static_cast<int32_t>(random() % vocab));
  std::vector<Asked> all;
  for (size_t i = 0; i < count; ++i) all.push_back(RandomRequest(random, vocab, beginnings));
  return all;
}

}  // namespace hadal::loop_test
