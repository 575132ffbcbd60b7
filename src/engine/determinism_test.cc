// The promise: a sequence's logits are the same bits alone or in any company, whatever the chunks, the threads, the
// cache blocks it got, and also when it lost its cache and was computed a second time.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/cpu_info.h"
#include "engine/engine.h"
#include "model/golden_util.h"

namespace hadal {
namespace {

using golden::Must;

constexpr int64_t kSequences = 6;

struct Variant {
  std::string name;
  std::string folder;
  ComputeMode compute = ComputeMode::kAuto;
  WeightChoice weights = WeightChoice::kAsStored;
  int64_t context = 192;  // a split of the absorbed form is 512 positions

  friend void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }
};

std::vector<Variant> Variants() {
  std::vector<Variant> variants;
  for (const std::string& folder : golden::Folders()) {
    std::string name = folder;
    std::replace(name.begin(), name.end(), '-', '_');
    variants.push_back({name + "_f32", folder, ComputeMode::kF32});
    variants.push_back({name + "_auto", folder});
  }
  variants.push_back({"int8", "v3-tiny-bf16", ComputeMode::kAuto, WeightChoice::kInt8});
  variants.push_back({"int4", "v3-tiny-bf16", ComputeMode::kAuto, WeightChoice::kInt4});
  variants.push_back({"int4_of_fp8", "v3-tiny-fp8", ComputeMode::kAuto, WeightChoice::kInt4});
  variants.push_back({"over_splits", "moonlight-tiny", ComputeMode::kAuto, WeightChoice::kAsStored, 1200});
  return variants;
}

std::unique_ptr<Engine> Load(const Variant& variant, std::string_view kernels, int threads, int64_t block_size) {
  EngineOptions options;
  options.load.compute = variant.compute;
  options.load.weights = variant.weights;
  options.kernels = kernels;
  options.threads = threads;
  options.context = variant.context;
  options.sequences = kSequences;
  options.step_tokens = 256;
  options.logit_rows = 256;
  options.block_size = block_size;
  return Must(Engine::Load(golden::Folder(variant.folder), options));
}

/// Sequences of random ids and lengths, a random part of each being the prompt.
std::vector<Sequence> RandomSequences(std::mt19937& random, int64_t vocab, int64_t context) {
  std::vector<Sequence> sequences(kSequences);
  for (Sequence& s : sequences) {
    const int64_t length = 1 + random() % (context - 1);
    for (int64_t i = 0; i < length; ++i) s.tokens.push_back(static_cast<int32_t>(random() % vocab));
    s.prompt_length = 1 + random() % length;
  }
  return sequences;
}

/// Logits of every token, [tokens][vocab].
using Logits = std::vector<std::vector<float>>;

void Collect(const Engine& engine, View<const float> logits, const Slice& slice, Logits& into) {
  for (int64_t i = slice.sequence->computed - slice.count; i < slice.sequence->computed; ++i) {
    const float* row = logits.row(LogitRow(engine.step(), *slice.sequence, i));
    into[static_cast<size_t>(i)].assign(row, row + logits.cols);
  }
}

/// Alone: the prompt at once (as far as a step holds it), then one token after the other.
Logits Alone(Engine& engine, Sequence sequence) {
  Logits logits(sequence.tokens.size());
  while (sequence.pending() > 0) {
    const int64_t prompt_left = sequence.prompt_length - sequence.computed;
    const int64_t count = prompt_left > 0 ? std::min(prompt_left, engine.pass().limits().tokens) : 1;
    const Slice slice{&sequence, count, count};
    Collect(engine, Must(engine.RunStep({&slice, 1})), slice, logits);
  }
  engine.blocks().Release(sequence.block_table);
  return logits;
}

/// All together, steps of random slices; now and then a sequence loses its cache.
std::vector<Logits> RandomSchedule(Engine& engine, std::vector<Sequence> sequences, std::mt19937& random) {
  std::vector<Logits> logits;
  for (const Sequence& s : sequences) logits.emplace_back(s.tokens.size());
  for (;;) {
    std::vector<Slice> slices;
    std::vector<size_t> owners;
    int64_t room = 1 + random() % 256;
    bool pending = false;
    for (size_t i = 0; i < sequences.size(); ++i) {
      Sequence& s = sequences[i];
      if (random() % 40 == 0) {
        engine.blocks().Release(s.block_table);
        s.computed = 0;
      }
      pending = pending || s.pending() > 0;
      if (random() % 3 == 0) continue;
      const int64_t most = random() % 2 ? 3 : 100;
      const int64_t count = std::min({room, s.pending(), static_cast<int64_t>(1 + random() % most)});
      if (count <= 0) continue;
      slices.push_back({&s, count, count});
      owners.push_back(i);
      room -= count;
    }
    if (!pending) break;
    if (slices.empty()) continue;
    const View<const float> step = Must(engine.RunStep(slices));
    for (size_t j = 0; j < slices.size(); ++j) Collect(engine, step, slices[j], logits[owners[j]]);
  }
  for (Sequence& s : sequences) engine.blocks().Release(s.block_table);
  EXPECT_EQ(engine.blocks().free_blocks(), engine.blocks().blocks());
  return logits;
}

class Determinism : public testing::TestWithParam<Variant> {};

TEST_P(Determinism, RandomSchedulesGiveTheBitsOfEachSequenceAlone) {
  for (const Isa isa : AvailableIsas()) {
    const std::string kernels(IsaName(isa));
    const auto first = Load(GetParam(), kernels, 1, 16);
    std::mt19937 random(20261124);
    const std::vector<Sequence> sequences = RandomSequences(random, first->config().vocab_size, GetParam().context);
    std::vector<Logits> alone;
    for (const Sequence& s : sequences) alone.push_back(Alone(*first, s));
    for (const int threads : {1, 2, 3}) {
      const auto engine = Load(GetParam(), kernels, threads, threads == 2 ? 7 : 16);
      const std::vector<Logits> together = RandomSchedule(*engine, sequences, random);
      for (size_t i = 0; i < sequences.size(); ++i) {
        for (size_t t = 0; t < alone[i].size(); ++t) {
          ASSERT_EQ(std::memcmp(alone[i][t].data(), together[i][t].data(), alone[i][t].size() * sizeof(float)), 0)
              << kernels << ", " << threads << " threads: sequence " << i << " (prompt "
              << sequences[i].prompt_length << " of " << sequences[i].tokens.size() << " tokens), token " << t;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Determinism, testing::ValuesIn(Variants()),
                         [](const auto& variant) { return variant.param.name; });

}  // namespace
}  // namespace hadal
