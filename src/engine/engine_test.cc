#include "engine/engine.h"

#include <gtest/gtest.h>

#include "base/cpu_info.h"
#include "engine/generate.h"
#include "model/golden_util.h"

namespace hadal {
namespace {

using golden::Must;

EngineOptions Options(int64_t context) {
  EngineOptions options;
  options.load.compute = ComputeMode::kF32;
  options.context = context;
  return options;
}

// Weights and cache against what was made, tables against their formula.
TEST(Engine, PlanIsWhatIsAllocated) {
  const Path folder = golden::Folder("v3-tiny-bf16");
  const EngineOptions options = Options(2560);
  const MemoryPlan plan = Must(Engine::Plan(folder, options));
  const auto engine = Must(Engine::Load(folder, options));
  uint64_t weights = 0;
  for (const ByteBuffer& buffer : engine->weights().memory) weights += buffer.size();
  EXPECT_EQ(plan.weights, weights);
  const KvCache& cache = engine->pass().cache();
  EXPECT_EQ(plan.cache, static_cast<uint64_t>(engine->config().num_hidden_layers * cache.blocks() * cache.block_size() *
                                              cache.layer(0).row_bytes()));
  EXPECT_GT(plan.activations, 0u);
  EXPECT_GT(plan.scratch, 0u);
  EXPECT_EQ(plan.tables, 2560u * 8 / 2 * 2 * sizeof(float));
}

TEST(Engine, TooLittleMemoryIsRefusedWithTheSums) {
  // 2,560 positions for a hundred million sequences: no machine has that, and a plan costs nothing.
  EngineOptions options = Options(2560);
  options.sequences = 100'000'000;
  const auto refused = Engine::Load(golden::Folder("v3-tiny-bf16"), options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  for (const char* part : {"needs", "GB", "cache of 256000000000 tokens", "available"})
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
}

TEST(Engine, ACacheOfTokensIsRoundedUpToBlocksAndHoldsAContextAtLeast) {
  EngineOptions options = Options(256);
  options.cache_tokens = 1000;
  EXPECT_EQ(Must(Engine::Plan(golden::Folder("v3-tiny-bf16"), options)).cache_tokens, 1024);
  EXPECT_EQ(Must(Engine::Load(golden::Folder("v3-tiny-bf16"), options))->blocks().blocks(), 16);
  options.cache_tokens = 100;
  const auto refused = Engine::Plan(golden::Folder("v3-tiny-bf16"), options);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("a cache of 100 tokens was asked for (--cache-tokens), and one sequence may "
                                         "have 256"),
            std::string::npos)
      << refused.error().message;
}

TEST(Engine, WhatStandsOnTheEngineIsInThePlanAndInTheRefusal) {
  EngineOptions options = Options(2560);
  const MemoryPlan alone = Must(Engine::Plan(golden::Folder("v3-tiny-bf16"), options));
  // All that there is but 500 MB, so that other programs may take and give some meanwhile.
  const uint64_t taken = AvailableMemoryBytes() - 500'000'000;
  options.beside = [&](const ModelConfig& config, const StepLimits& limits, int threads, MemoryPlan& plan) {
    EXPECT_EQ(config.vocab_size, 512);
    EXPECT_EQ(limits.context, 2560);
    EXPECT_GT(threads, 0);
    plan.requests = 1000;
    plan.connections = taken;
  };
  const MemoryPlan plan = Must(Engine::Plan(golden::Folder("v3-tiny-bf16"), options));
  EXPECT_EQ(plan.total(), alone.total() + 1000 + taken);

  options.sequences = 100'000;  // about 100 GB
  const auto refused = Engine::Load(golden::Folder("v3-tiny-bf16"), options);
  ASSERT_FALSE(refused);
  for (const char* part : {"requests 0.0 MB, connections", "would fit (--cache-tokens "})
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
}

TEST(Engine, FewerSequencesWhereTheMemoryIsShort) {
  EngineOptions options = Options(2560);
  options.sequences = 4;
  options.fewer_sequences = true;
  EXPECT_EQ(Must(Engine::Plan(golden::Folder("v3-tiny-bf16"), options)).cache_tokens, 4 * 2560) << "memory suffices";

  const uint64_t available = AvailableMemoryBytes();
  options.beside = [&](const ModelConfig&, const StepLimits&, int, MemoryPlan& plan) { plan.connections = available / 2; };
  options.sequences = 1'000'000;  // about a terabyte
  const MemoryPlan plan = Must(Engine::Plan(golden::Folder("v3-tiny-bf16"), options));
  EXPECT_LT(plan.total(), available);
  EXPECT_GT(plan.cache, available / 8);
  EXPECT_EQ(plan.cache_tokens % options.block_size, 0);

  options.beside = [&](const ModelConfig&, const StepLimits&, int, MemoryPlan& plan) { plan.connections = available; };
  EXPECT_EQ(Must(Engine::Plan(golden::Folder("v3-tiny-bf16"), options)).cache_tokens, 2560) << "one context at least";
  EXPECT_FALSE(Engine::Load(golden::Folder("v3-tiny-bf16"), options));
}

TEST(Engine, ASmallerCacheHasNoMoreRowsThanAStepHasTokens) {
  EngineOptions options = Options(64);
  options.block_size = 64;
  options.sequences = options.logit_rows = 256;
  options.fewer_sequences = true;
  options.beside = [&](const ModelConfig&, const StepLimits& limits, int, MemoryPlan& plan) {
    if (limits.cache_tokens > 64) plan.connections = uint64_t{1} << 50;
  };
  const auto engine = Must(Engine::Load(golden::Folder("v3-tiny-bf16"), options));
  const StepLimits& limits = engine->pass().limits();
  EXPECT_EQ(limits.cache_tokens, 64);
  EXPECT_EQ(limits.tokens, 64);
  EXPECT_EQ(limits.logit_rows, 64);
}

TEST(Engine, TokensOutsideVocabularyOrContextAreRefusedByPlace) {
  const auto engine = Must(Engine::Load(golden::Folder("v3-tiny-bf16"), Options(64)));
  const int32_t outside[] = {1, 512};
  EXPECT_NE(engine->CheckTokens(outside).error().message.find("token 1 of the sequence is 512"), std::string::npos);
  EXPECT_FALSE(engine->CheckTokens(std::vector<int32_t>(65, 1)));
  EXPECT_TRUE(engine->CheckTokens(std::vector<int32_t>(64, 511)));
  EXPECT_FALSE(Engine::Load(golden::Folder("v3-tiny-bf16"), Options(100'000))) << "beyond max_position_embeddings";
}

TEST(Engine, UnknownKernelsAreRefusedWithTheChoices) {
  EngineOptions options = Options(64);
  options.kernels = "avx9";
  const auto refused = Engine::Load(golden::Folder("v3-tiny-bf16"), options);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("generic"), std::string::npos) << refused.error().message;
}

/// The text after `prompt`, greedy.
std::vector<int32_t> Greedy(Engine& engine, Sequence& sequence, std::vector<int32_t> prompt, int64_t count) {
  SamplingParams params;
  params.temperature = 0;
  params.max_tokens = count;
  params.ignore_eos = true;
  Sampler sampler = Must(Sampler::Create(params, engine.config().vocab_size));
  SamplerScratch scratch = Must(SamplerScratch::Create(engine.config().vocab_size));
  SetPrompt(sequence, std::move(prompt));
  std::vector<int32_t> tokens;
  Must(Generate(engine, sequence, sampler, scratch, {}, [&](int32_t token) {
    tokens.push_back(token);
    return true;
  }));
  return tokens;
}

// A second turn keeps the first prompt's latents and gives what a fresh sequence would.
TEST(Generate, ASecondTurnReusesThePromptAndChangesNothing) {
  const auto engine = Must(Engine::Load(golden::Folder("v3-tiny-bf16"), Options(256)));
  std::vector<int32_t> prompt{5, 6, 7, 8, 9, 10};
  Sequence chat;
  const std::vector<int32_t> answer = Greedy(*engine, chat, prompt, 8);
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  prompt.insert(prompt.end(), {11, 12});
  SetPrompt(chat, prompt);
  EXPECT_EQ(chat.computed, 6) << "what was generated is computed again, as a prompt";
  const std::vector<int32_t> second = Greedy(*engine, chat, prompt, 8);
  engine->blocks().Release(chat.block_table);
  Sequence fresh;
  EXPECT_EQ(Greedy(*engine, fresh, prompt, 8), second);
}

TEST(Generate, EndsWhereTheContextDoes) {
  const auto engine = Must(Engine::Load(golden::Folder("v3-tiny-bf16"), Options(20)));
  Sequence sequence;
  EXPECT_EQ(Greedy(*engine, sequence, {1, 2, 3}, 100).size(), 17u);
}

}  // namespace
}  // namespace hadal
