#include "engine/step_cost.h"

#include <gtest/gtest.h>

#include "engine/engine_loop_test_util.h"

namespace hadal::loop_test {
namespace {

TEST(StepRecord, DecodeStepsTellWhatTheyReadAndPromptsDoNot) {
  auto engine = Load("v3-tiny-bf16", 2);
  const double one = static_cast<double>(engine->weights().BytesPerToken(engine->config()));
  const double latents =
      static_cast<double>(engine->config().num_hidden_layers * engine->pass().cache().layer(0).row_bytes());
  std::vector<StepRecord> steps;
  LoopOptions options;
  options.max_running = 2;
  options.on_step = [&](const StepRecord& step) { steps.push_back(step); };
  auto loop = Must(EngineLoop::Start(std::move(engine), options));
  Inbox inbox;
  Asked asked;
  for (int32_t i = 0; i < 20; ++i) asked.prompt.push_back(i + 3);
  asked.params.temperature = 0;
  asked.params.max_tokens = 5;
  Must(loop->Submit(ToRequest(asked, inbox)));
  inbox.WaitForEnd();
  loop = nullptr;  // the engine thread has ended
  ASSERT_EQ(steps.size(), 5u);
  EXPECT_EQ(steps[0].prefill_tokens, 20);
  EXPECT_EQ(steps[0].read_bytes, 0);
  for (size_t i = 1; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].decode_tokens, 1);
    EXPECT_EQ(steps[i].requests, 1);
    EXPECT_GT(steps[i].seconds, 0);
    // One token reads exactly the experts that it is routed to.
    EXPECT_NEAR(steps[i].read_bytes, one + latents * (20.0 + static_cast<double>(i)), 0.5) << i;
  }
}

TEST(DecodeCost, TokensShareWhatIsNotTheirs) {
  auto engine = Load("v3-tiny-bf16", 2);
  const DecodeCost cost(engine->config(), engine->weights(), engine->pass().cache());
  const double fixed = cost.Bytes(int64_t{0}, 0, 0), one = cost.Bytes(int64_t{1}, 8, 10);
  const double row = static_cast<double>(engine->weights().embedding.hidden *
                                         DTypeBits(engine->weights().embedding.dtype) / 8);
  EXPECT_GT(fixed, 0);
  EXPECT_NEAR(cost.Bytes(int64_t{2}, 8, 10) - one, row, 1e-6);
  EXPECT_NEAR(cost.Bytes(int64_t{1}, 16, 10) - one, one - cost.Bytes(int64_t{1}, 0, 10), 1e-6);
}

TEST(DecodeCost, AGuessCostsItsExpertsAndTheHeadAgain) {
  auto engine = Load("v3-tiny-bf16", 2);
  const DecodeCost cost(engine->config(), engine->weights(), engine->pass().cache());
  const double one = static_cast<double>(engine->weights().BytesPerToken(engine->config()));
  const double routed = one - cost.Bytes(int64_t{1}, 0, 0);
  const double head = static_cast<double>(engine->weights().head.bytes());
  EXPECT_GT(cost.GuessShare() * one, routed + head);
  EXPECT_LT(cost.GuessShare() * one, routed + head + (one - head) / 2) << "a layer of several";
}

}  // namespace
}  // namespace hadal::loop_test
