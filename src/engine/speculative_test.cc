// What is guessed: what the prediction layer says of the request's own tokens, whatever came before the request
// and beside it. That guesses change no token is tested in engine_loop_random_test.cc.
#include "engine/speculative.h"

#include <gtest/gtest.h>

#include "engine/engine_loop_test_util.h"

namespace hadal::loop_test {
namespace {

constexpr const char* kFolder = "v3-tiny-mtp";

/// Only three tokens to choose from, so that guesses come true now and then.
Asked Narrow(int prompt, int64_t max_tokens, double temperature) {
  Asked asked;
  for (int i = 0; i < prompt; ++i) asked.prompt.push_back((i * 37 + 11) % 200);
  asked.params.temperature = temperature;
  asked.params.max_tokens = max_tokens;
  asked.params.seed = 5;
  asked.params.logit_bias = {{3, 70.0f}, {50, 70.0f}, {121, 70.0f}};
  return asked;
}

LoopOptions Guessing(int64_t tokens = 1) {
  return {.max_running = 4, .speculative = Speculation::kMtp, .speculative_tokens = tokens, .guess_cost = 0};
}

struct Guesses {
  int64_t drafted = 0, accepted = 0, steps = 0;
  friend bool operator==(const Guesses&, const Guesses&) = default;
};

/// Runs one request to its end; what the loop counted for it.
Guesses RunOne(EngineLoop& loop, const Asked& asked, const Truth& truth) {
  const LoopStats before = loop.stats();
  Inbox inbox;
  Must(loop.Submit(ToRequest(asked, inbox)));
  inbox.WaitForEnd();
  ExpectTruth(inbox, truth, asked);
  // The step that delivered the last token is counted when it ends.
  while (loop.stats().work_pending) std::this_thread::yield();
  const LoopStats after = loop.stats();
  return {after.drafted_tokens - before.drafted_tokens, after.accepted_tokens - before.accepted_tokens,
          after.steps - before.steps};
}

/// What the prediction layer says of the token after the one at `index`, as the sampler draws it: from one pass
/// over the whole sequence, layer and cache used as the paper has it.
std::vector<int32_t> GuessAll(Engine& engine, const Asked& asked, const Truth& truth) {
  Sequence s;
  SetPrompt(s, asked.prompt);
  s.tokens.insert(s.tokens.end(), truth.tokens.begin(), truth.tokens.end());
  const int64_t last = s.length() - 1, hidden = engine.config().hidden_size;
  std::vector<float> states;
  while (s.computed < last) {
    const Slice slice{&s, std::min<int64_t>(40, last - s.computed), 0};
    Must(engine.RunStep(std::span(&slice, 1)));
    const View<const float> rows = engine.pass().final_states();
    for (int64_t t = 0; t < rows.rows; ++t) states.insert(states.end(), rows.row(t), rows.row(t) + hidden);
  }
  Must(engine.blocks().Extend(s.block_table, s.length() / kBlock + 1));
  const Sampler sampler = Must(Sampler::Create(asked.params, engine.config().vocab_size));
  SamplerScratch scratch = Must(SamplerScratch::Create(engine.config().vocab_size));
  std::vector<int32_t> guesses(2, -1);  // of the tokens 0 and 1
  for (int64_t p = 0; p + 1 < s.length(); ++p) {
    Step step;
    step.Add(Run::Role::kGenerated, &s.tokens[static_cast<size_t>(p + 1)], 1, p, s.block_table.data());
    step.logit_rows.push_back(0);
    const View<const float> state(states.data() + p * hidden, 1, hidden);
    const View<const float> logits = Must(engine.pass().RunMtp(step, state, 0));
    guesses.push_back(Must(sampler.Sample({logits.row(0), static_cast<size_t>(logits.cols)},
                                          static_cast<uint64_t>(p + 2), scratch)));
  }
  engine.blocks().Release(s.block_table);
  return guesses;
}

TEST(Speculator, GuessesAreThePredictionLayersWord) {
  for (const double temperature : {0.0, 1.0}) {
    const Asked asked = Narrow(21, 60, temperature);
    auto engine = Load(kFolder, 2, 2, /*mtp=*/true);
    const Truth truth = Alone(*engine, asked);
    const std::vector<int32_t> guesses = GuessAll(*engine, asked, truth);
    Guesses want{.steps = 1};
    const int64_t prompt = static_cast<int64_t>(asked.prompt.size());
    const int64_t end = prompt + static_cast<int64_t>(truth.tokens.size());
    for (int64_t length = prompt + 1; length < end; ++length, ++want.steps) {
      if (length + 1 == end) continue;  // the last token is drawn from what is there
      ++want.drafted;
      if (guesses[static_cast<size_t>(length)] != truth.tokens[static_cast<size_t>(length - prompt)]) continue;
      ++want.accepted;
      ++length;
    }
    auto loop = Must(EngineLoop::Start(std::move(engine), Guessing()));
    const Guesses got = RunOne(*loop, asked, truth);
    EXPECT_EQ(got.drafted, want.drafted);
    EXPECT_EQ(got.accepted, want.accepted);
    EXPECT_EQ(got.steps, want.steps);
    EXPECT_GT(got.accepted, 5);
    EXPECT_LT(got.accepted, got.drafted);
  }
}

/// The second time most of the prompt comes from the prefix cache, where the token after the shared blocks is
/// another one: nothing of the layer's cache may depend on it.
TEST(Speculator, APrefixHitChangesNoGuess) {
  const Asked asked = Narrow(30, 60, 1);
  Asked other = asked;
  other.prompt.resize(25);
  other.prompt.back() = 199;
  auto engine = Load(kFolder, 4, 2, /*mtp=*/true);
  const Truth truth = Alone(*engine, asked), other_truth = Alone(*engine, other);
  auto cold = Must(EngineLoop::Start(std::move(engine), Guessing(2)));
  const Guesses alone = RunOne(*cold, asked, truth);
  EXPECT_EQ(RunOne(*cold, asked, truth), alone);
  EXPECT_EQ(cold->stats().prefix_hit_tokens, 24);

  auto fresh = Load(kFolder, 4, 2, /*mtp=*/true);
  // The first blocks handed out, in the prediction layer's cache.
  const ops::LayerCache& layer = fresh->pass().cache().layer(fresh->config().num_hidden_layers);
  const size_t bytes = static_cast<size_t>(24 * layer.row_bytes());
  auto warm = Must(EngineLoop::Start(std::move(fresh), Guessing(2)));
  RunOne(*warm, other, other_truth);
  const std::vector<std::byte> shared(layer.data, layer.data + bytes);
  EXPECT_EQ(RunOne(*warm, asked, truth), alone);
  EXPECT_EQ(std::memcmp(shared.data(), layer.data, bytes), 0) << "a shared block was written to";
  EXPECT_EQ(warm->stats().prefix_hit_tokens, 24) << "up to the block before the one that differs";
}

/// A request that ends in the step that computes its prompt leaves whole blocks behind: whoever finds them guesses as
/// if it had computed them.
TEST(Speculator, BlocksOfARequestThatEndsWithItsPromptAreWhole) {
  const Asked asked = Narrow(30, 60, 1);
  auto engine = Load(kFolder, 4, 2, /*mtp=*/true);
  const Truth truth = Alone(*engine, asked);
  auto cold = Must(EngineLoop::Start(std::move(engine), Guessing(2)));
  const Guesses alone = RunOne(*cold, asked, truth);
  EXPECT_GT(alone.accepted, 5);

  for (const bool stops : {false, true}) {
    Asked brief = asked;
    if (stops) {
      brief.stop_ids = {3, 50, 121};
    } else {
      brief.params.max_tokens = 1;
    }
    auto fresh = Load(kFolder, 4, 2, /*mtp=*/true);
    const Truth brief_truth = Alone(*fresh, brief);
    // The latents that Alone left are none of the loop's.
    const ops::LayerCache& layer = fresh->pass().cache().layer(fresh->config().num_hidden_layers);
    std::memset(layer.data, 0xFF, static_cast<size_t>(24 * layer.row_bytes()));
    auto warm = Must(EngineLoop::Start(std::move(fresh), Guessing(2)));
    EXPECT_EQ(RunOne(*warm, brief, brief_truth), (Guesses{.steps = 1})) << "prompt and end in one step";
    EXPECT_EQ(RunOne(*warm, asked, truth), alone);
    EXPECT_EQ(warm->stats().prefix_hit_tokens, 24);
  }
}

/// Requests that run side by side on the same blocks, each with another token after them.
TEST(Speculator, CompanyOnSharedBlocksChangesNoGuess) {
  constexpr size_t kRequests = 3;
  auto engine = Load(kFolder, 4, 2, /*mtp=*/true);
  std::vector<Asked> asked(kRequests, Narrow(25, 70, 1));
  std::vector<Truth> truths;
  for (size_t i = 0; i < kRequests; ++i) {
    asked[i].prompt.back() = static_cast<int32_t>(60 * i + 7);
    asked[i].params.seed = i;
    truths.push_back(Alone(*engine, asked[i]));
  }
  Guesses alone;
  auto loop = Must(EngineLoop::Start(std::move(engine), Guessing(2)));
  for (size_t i = 0; i < kRequests; ++i) {
    const Guesses one = RunOne(*loop, asked[i], truths[i]);
    alone.drafted += one.drafted;
    alone.accepted += one.accepted;
  }

  auto together = Must(EngineLoop::Start(Load(kFolder, 4, 2, /*mtp=*/true), Guessing(2)));
  std::vector<Inbox> inboxes(kRequests);
  for (size_t i = 0; i < kRequests; ++i) {
    Must(together->Submit(ToRequest(asked[i], inboxes[i])));
    inboxes[i].WaitFor(1);  // its blocks are in the prefix cache
  }
  together->Drain(kLong);
  for (size_t i = 0; i < kRequests; ++i) ExpectTruth(inboxes[i], truths[i], asked[i]);
  EXPECT_EQ(together->stats().prefix_hit_tokens, 48);
  EXPECT_EQ(together->stats().drafted_tokens, alone.drafted);
  EXPECT_EQ(together->stats().accepted_tokens, alone.accepted);
}

/// A single token to choose from: every guess is right, and a step brings all of them.
TEST(Speculator, RightGuessesSaveTheirSteps) {
  Asked asked = Narrow(10, 61, 0);
  asked.params.logit_bias = {{3, 100.0f}};
  auto engine = Load(kFolder, 2, 2, /*mtp=*/true);
  const Truth truth = Alone(*engine, asked);
  auto loop = Must(EngineLoop::Start(std::move(engine), Guessing(4)));
  const Guesses guesses = RunOne(*loop, asked, truth);
  EXPECT_EQ(guesses, (Guesses{.drafted = 48, .accepted = 48, .steps = 13})) << "a first token, then five a step";
}

/// What the answer shows of its guesses decides when they pause, whatever runs beside it; the tokens are the same.
TEST(Speculator, GuessesThatSeldomComeTruePauseAsTheyDoAlone) {
  constexpr size_t kRequests = 3;
  auto engine = Load(kFolder, 4, 2, /*mtp=*/true);
  std::vector<Asked> asked(kRequests, Narrow(25, 70, 1));
  std::vector<Truth> truths;
  for (size_t i = 0; i < kRequests; ++i) {
    asked[i].params.seed = i;
    truths.push_back(Alone(*engine, asked[i]));
  }
  LoopOptions options = Guessing(2);
  options.guess_cost = 0.9;
  auto loop = Must(EngineLoop::Start(std::move(engine), options));
  Guesses alone;
  for (size_t i = 0; i < kRequests; ++i) {
    const Guesses one = RunOne(*loop, asked[i], truths[i]);
    alone.drafted += one.drafted;
    alone.accepted += one.accepted;
    EXPECT_LT(one.drafted, 40) << "of some 70";
  }
  EXPECT_GE(loop->stats().guess_pauses, static_cast<int64_t>(kRequests));

  auto together = Must(EngineLoop::Start(Load(kFolder, 4, 2, /*mtp=*/true), options));
  std::vector<Inbox> inboxes(kRequests);
  for (size_t i = 0; i < kRequests; ++i) Must(together->Submit(ToRequest(asked[i], inboxes[i])));
  together->Drain(kLong);
  for (size_t i = 0; i < kRequests; ++i) ExpectTruth(inboxes[i], truths[i], asked[i]);
  EXPECT_EQ(together->stats().drafted_tokens, alone.drafted);
  EXPECT_EQ(together->stats().accepted_tokens, alone.accepted);
  EXPECT_EQ(together->stats().guess_pauses, loop->stats().guess_pauses);
}

/// Allows one token of those of Narrow at each place, in turn.
class Turns final : public TokenConstraint {
 public:
  explicit Turns(int64_t vocab) : mask_(static_cast<size_t>(vocab + 63) / 64) {}
  Result<std::span<const uint64_t>> Allowed() override {
    std::fill(mask_.begin(), mask_.end(), 0);
    mask_[static_cast<size_t>(Next()) / 64] = uint64_t{1} << (Next() % 64);
    return std::span<const uint64_t>(mask_);
  }
  void Accept(int32_t token) override {
    EXPECT_EQ(token, Next());
    ++count_;
  }
  bool MustEnd() const override { return false; }

 private:
  int32_t Next() const { return std::array{3, 50, 121}[count_ % 3]; }
  std::vector<uint64_t> mask_;
  size_t count_ = 0;
};

/// A guess is drawn from what the constraint allows, so where that is one token it is right; further guesses, of
/// which the constraint cannot say what it allows, are not made.
TEST(Speculator, GuessesKeepToTheConstraint) {
  const Asked asked = Narrow(10, 41, 1);
  auto loop = Must(EngineLoop::Start(Load(kFolder, 2, 2, /*mtp=*/true), Guessing(4)));
  Inbox inbox;
  GenerationRequest request = ToRequest(asked, inbox);
  request.constraint = std::make_shared<Turns>(loop->engine().config().vocab_size);
  Must(loop->Submit(std::move(request)));
  loop->Drain(kLong);
  ASSERT_EQ(inbox.events().size(), 41u);
  EXPECT_EQ(loop->stats().drafted_tokens, 20);
  EXPECT_EQ(loop->stats().accepted_tokens, 20);
  EXPECT_EQ(loop->stats().steps, 21) << "a first token, then two a step";
}

/// A request that its receiver finishes in the middle of a step's tokens gets none of the rest.
TEST(Speculator, FinishingEndsARequestInTheMiddleOfAStep) {
  Asked asked = Narrow(10, 61, 0);
  asked.params.logit_bias = {{3, 100.0f}};
  auto loop = Must(EngineLoop::Start(Load(kFolder, 2, 2, /*mtp=*/true), Guessing(4)));
  Inbox inbox;
  std::atomic<RequestId> id = 0;
  inbox.OnEvent([&] {
    while (id == 0) std::this_thread::yield();
    if (inbox.events().size() == 4) loop->Finish(id);
  });
  id = Must(loop->Submit(ToRequest(asked, inbox)));
  loop->Drain(kLong);
  EXPECT_EQ(inbox.events().size(), 4u);
  EXPECT_EQ(inbox.usage().generated, 4);
  EXPECT_EQ(inbox.last().reason, FinishReason::kStop);
  ExpectNoLeak(*loop);
}

TEST(Speculator, WithoutAPredictionLayerItIsRefused) {
  EngineOptions options;
  options.load.mtp = true;
  const auto engine = Engine::Load(golden::Folder("v3-tiny-bf16"), options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, Code::kUnsupported);
  EXPECT_NE(engine.error().message.find("has no MTP layer (num_nextn_predict_layers = 0)"), std::string::npos)
      << engine.error().message;

  const auto loop = EngineLoop::Start(Load(kFolder, 1), Guessing());
  ASSERT_FALSE(loop);
  EXPECT_NE(loop.error().message.find("none is loaded"), std::string::npos) << loop.error().message;
  for (const int64_t tokens : {0, 5}) {
    const auto refused = EngineLoop::Start(Load(kFolder, 1, 1, /*mtp=*/true), Guessing(tokens));
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("from 1 to 4"), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace hadal::loop_test
