#include "engine/logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "model/golden_util.h"

namespace hadal {
namespace {

using golden::Must;
using testing::HasSubstr;

constexpr float kTolerance = 2e-4f;  // as forward_golden_test has it

class LogitsOfGolden : public testing::TestWithParam<std::string> {
 protected:
  Path folder() const { return golden::Folder(GetParam()); }

  /// All prompts of the folder, to be continued as far as the expected results go.
  LogitsRequest AllPrompts() {
    file_ = Must(Checkpoint::OpenFile(folder() / "golden.safetensors"));
    LogitsRequest request;
    for (int i = 0; !golden::ReadPrompt(*file_, i).ids.empty(); ++i) {
      prompts_.push_back(golden::ReadPrompt(*file_, i));
      request.ids.push_back(prompts_.back().ids);
    }
    request.greedy = static_cast<int64_t>(prompts_[0].greedy.size());
    return request;
  }

  /// `step_tokens` small enough that prompts are cut and share steps.
  std::unique_ptr<Engine> Load(const LogitsRequest& request, int64_t step_tokens = 64) {
    EngineOptions options;
    options.load.compute = ComputeMode::kF32;
    options.threads = 2;
    options.step_tokens = step_tokens;
    options.block_size = 16;
    return Must(Engine::Load(folder(), LogitsEngineOptions(options, Must(LoadConfig(folder())), request)));
  }

  std::unique_ptr<Checkpoint> file_;
  std::vector<golden::Prompt> prompts_;
};

TEST_P(LogitsOfGolden, BatchOfAllPrompts) {
  const LogitsRequest request = AllPrompts();
  const auto engine = Load(request);
  const auto results = Must(ComputeLogits(*engine, request));
  const int64_t vocab = engine->config().vocab_size;
  ASSERT_EQ(results.size(), prompts_.size());
  for (size_t p = 0; p < prompts_.size(); ++p) {
    ASSERT_EQ(results[p].positions, static_cast<int64_t>(prompts_[p].ids.size()));
    for (size_t i = 0; i < prompts_[p].positions.size(); ++i) {
      const float* got = results[p].logits.data() + prompts_[p].positions[i] * vocab;
      const float* want = prompts_[p].logits.data() + static_cast<int64_t>(i) * vocab;
      for (int64_t v = 0; v < vocab; ++v)
        ASSERT_LE(std::fabs(got[v] - want[v]), kTolerance) << p << " " << i << " " << v;
    }
    EXPECT_THAT(results[p].greedy, testing::ElementsAreArray(prompts_[p].greedy)) << "prompt " << p;
  }
  EXPECT_EQ(engine->blocks().free_blocks(), engine->blocks().blocks());
}

void ExpectSameBits(const Buffer<float>& a, const Buffer<float>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  EXPECT_EQ(std::memcmp(a.data(), b.data(), static_cast<size_t>(a.size()) * sizeof(float)), 0) << what;
}

TEST_P(LogitsOfGolden, EachAloneGivesTheSameBits) {
  LogitsRequest together = AllPrompts();
  together.hidden = true;
  together.last = 9;
  const auto batch = Must(ComputeLogits(*Load(together), together));
  for (size_t p = 0; p < prompts_.size(); ++p) {
    LogitsRequest alone = together;
    alone.ids = {prompts_[p].ids};
    const auto result = Must(ComputeLogits(*Load(alone, /*step_tokens=*/7), alone));
    ExpectSameBits(batch[p].logits, result[0].logits, "logits");
    EXPECT_EQ(batch[p].greedy, result[0].greedy);
    for (size_t layer = 0; layer < batch[p].hidden.size(); ++layer)
      ExpectSameBits(batch[p].hidden[layer], result[0].hidden[layer], "hidden");
  }
}

TEST_P(LogitsOfGolden, HiddenStatesOfEveryLayer) {
  LogitsRequest request = AllPrompts();
  request.hidden = true;
  request.greedy = 0;
  const auto engine = Load(request);
  const auto results = Must(ComputeLogits(*engine, request));
  ASSERT_EQ(results[0].hidden.size(), static_cast<size_t>(engine->config().num_hidden_layers));
  for (size_t layer = 0; layer < results[0].hidden.size(); ++layer) {
    const auto want = Must(ReadF32(*file_, "debug." + std::to_string(layer) + ".hidden"));
    ASSERT_EQ(results[0].hidden[layer].size(), static_cast<int64_t>(want.size()));
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(results[0].hidden[layer][static_cast<int64_t>(i)], want[i],
                  kTolerance * std::max(1.0f, std::fabs(want[i])))
          << layer << " " << i;
  }
}

TEST_P(LogitsOfGolden, BothFormsOfAttentionAgree) {
  LogitsRequest request = AllPrompts();
  const int64_t vocab = Must(LoadConfig(folder())).vocab_size;
  for (const AttentionForm form : {AttentionForm::kPlain, AttentionForm::kAbsorbed}) {
    request.attention = form;
    const auto results = Must(ComputeLogits(*Load(request), request));
    const float* got = results[0].logits.data();
    for (int64_t i = 0; i < static_cast<int64_t>(prompts_[0].positions.size()) * vocab; ++i)
      ASSERT_LE(std::fabs(got[i] - prompts_[0].logits[static_cast<size_t>(i)]), kTolerance) << i;
    EXPECT_THAT(results[0].greedy, testing::ElementsAreArray(prompts_[0].greedy));
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, LogitsOfGolden, testing::ValuesIn(golden::Folders()),
                         [](const auto& folder) {
                           std::string name = folder.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(LogitsRequest, RefusalsNameTheCause) {
  const ModelConfig config = Must(LoadConfig(golden::Folder("v3-tiny-bf16")));
  const auto message = [&](LogitsRequest request) {
    const Status status = CheckLogitsRequest(config, request);
    return status ? std::string() : status.error().message;
  };
  LogitsRequest request;
  EXPECT_THAT(message(request), HasSubstr("no ids"));
  request.ids = {{1, 2}, {}};
  EXPECT_THAT(message(request), HasSubstr("sequence 1 has no ids"));
  request.ids = {{1, 2}, {3, static_cast<int32_t>(config.vocab_size)}};
  EXPECT_THAT(message(request), HasSubstr("at place 1 of sequence 1 is outside the vocabulary"));
  request.ids = {{1, -1}};
  EXPECT_THAT(message(request), HasSubstr("id -1"));
  request.ids = {{1, 2}};
  request.greedy = config.max_position_embeddings - 1;
  EXPECT_THAT(message(request), HasSubstr("positions"));
  request.greedy = config.max_position_embeddings - 2;
  EXPECT_EQ(message(request), "");
  request.last = -1;
  EXPECT_THAT(message(request), HasSubstr("-1"));
}

TEST(LogitsRequest, StopsWhenTheListenerSaysSo) {
  LogitsRequest request;
  request.ids = {std::vector<int32_t>(100, 5)};
  std::vector<int64_t> seen;
  request.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 100);
    seen.push_back(done);
    return done < 40;
  };
  const Path folder = golden::Folder("v3-tiny-bf16");
  EngineOptions options;
  options.threads = 1;
  options.step_tokens = 20;
  const auto engine =
      Must(Engine::Load(folder, LogitsEngineOptions(options, Must(LoadConfig(folder)), request)));
  const auto result = ComputeLogits(*engine, request);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kCancelled);
  EXPECT_THAT(seen, testing::ElementsAre(20, 40));
  EXPECT_EQ(engine->blocks().free_blocks(), engine->blocks().blocks());
}

TEST(LogitsRequest, ResultBytesCountEveryRow) {
  ModelConfig config;
  config.vocab_size = 100;
  config.num_hidden_layers = 3;
  config.hidden_size = 10;
  LogitsRequest request;
  request.ids = {{1, 2, 3}, {4}};
  EXPECT_EQ(LogitsResultBytes(config, request), 4u * 100 * 4);
  request.last = 2;
  EXPECT_EQ(LogitsResultBytes(config, request), 3u * 100 * 4);
  request.hidden = true;
  EXPECT_EQ(LogitsResultBytes(config, request), 3u * (100 + 30) * 4);
}

}  // namespace
}  // namespace hadal
