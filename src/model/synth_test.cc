#include "model/synth.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/rng.h"
#include "model/parameters.h"
#include "model/random_normal.h"
#include "model/safetensors_test_util.h"
#include "model/shapes.h"
#include "model/synth_tokenizer.h"
#include "model/synth_weights.h"
#include "model/weight_test_util.h"
#include "model/weights.h"

namespace hadal {
namespace {

using testing::HasSubstr;

TEST(RandomNormal, IsPhiloxByIndex) {
  constexpr uint64_t kSeed = 0x0123456789abcdef, kStream = 0xfedcba9876543210;
  std::vector<float> x(200);
  FillNormal(kSeed, kStream, 0, 200, 0.5f, 147.80054f, x.data());
  for (int64_t i : {0, 15, 16, 63, 64, 130, 199}) {
    const auto counter = static_cast<uint64_t>(i / 64 * 16 + i % 16);
    const uint32_t word = PhiloxAt(kSeed, kStream, counter)[static_cast<size_t>(i % 64 / 16)];
    int sum = -510;
    for (int byte = 0; byte < 4; ++byte) sum += static_cast<int>(word >> (8 * byte) & 255);
    EXPECT_NEAR(x[static_cast<size_t>(i)], 0.5f + static_cast<float>(sum), 1e-3) << i;
  }
}

TEST(RandomNormal, DoesNotDependOnTheStretch) {
  std::vector<float> whole(1000), part(300);
  FillNormal(7, 8, 0, 1000, 0, 1, whole.data());
  for (int64_t first : {0, 1, 63, 64, 65, 700}) {
    FillNormal(7, 8, first, 300, 0, 1, part.data());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first)) << first;
  }
}

TEST(RandomNormal, HasItsMomentsAndTails) {
  constexpr int64_t kCount = 1 << 20;
  std::vector<float> x(kCount);
  FillNormal(1, StreamOf("a"), 0, kCount, 0, 1, x.data());
  double sum = 0, squares = 0, beyond_two = 0;
  for (float v : x) sum += v, squares += double{v} * v, beyond_two += std::fabs(v) > 2;
  EXPECT_NEAR(sum / kCount, 0, 0.004);
  EXPECT_NEAR(squares / kCount, 1, 0.006);
  EXPECT_NEAR(beyond_two / kCount, 0.0455, 0.004);
  std::vector<float> other(kCount);
  FillNormal(1, StreamOf("b"), 0, kCount, 0, 1, other.data());
  double product = 0;
  for (size_t i = 0; i < kCount; ++i) product += double{x[i]} * other[i];
  EXPECT_NEAR(product / kCount, 0, 0.004);
}

class SynthTest : public TempFolderTest {
 protected:
  SynthOptions Options(std::string name, std::string weights = "bf16") const {
    SynthOptions options;
    options.shape = "v3-tiny";
    options.weights = std::move(weights);
    options.out = folder_ / name;
    options.seed = 5;
    return options;
  }
  void Make(const SynthOptions& options, int threads = 2) const {
    ThreadPool pool(threads);
    const Status status = Synthesize(options, pool);
    ASSERT_TRUE(status.has_value()) << status.error().message;
  }
};

void ExpectSameFiles(const Path& a, const Path& b) {
  for (const auto& entry : std::filesystem::directory_iterator(a)) {
    const auto name = entry.path().filename();
    EXPECT_EQ(ReadFile(a / name).value(), ReadFile(b / name).value()) << name;
  }
}

TEST_F(SynthTest, SameBytesForAnyThreads) {
  for (const char* weights : {"bf16", "fp8", "int8", "int4"}) {
    SCOPED_TRACE(weights);
    const std::string one = fmt::format("{}-1", weights), three = fmt::format("{}-3", weights);
    Make(Options(one, weights), 1);
    Make(Options(three, weights), 3);
    ExpectSameFiles(folder_ / one, folder_ / three);
  }
  SynthOptions other = Options("other");
  other.seed = 6;
  Make(other);
  EXPECT_NE(ReadFile(folder_ / "bf16-1/model.safetensors").value(),
            ReadFile(folder_ / "other/model.safetensors").value());
}

TEST_F(SynthTest, EveryFormatLoadsAndHasTheCountedSize) {
  ThreadPool pool(2);
  for (const char* weights : {"bf16", "fp8", "int8", "int4"}) {
    SCOPED_TRACE(weights);
    Make(Options(weights, weights));
    const auto config = LoadConfig(folder_ / weights);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->eos_token_ids, std::vector<int64_t>{kTinyEosId});
    const auto checkpoint = Checkpoint::Open(folder_ / weights);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->TotalBytes(), static_cast<uint64_t>(CountStored(*config).bytes));
    LoadOptions options;
    options.mtp = true;
    const auto loaded = LoadWeights(*config, **checkpoint, options, pool);
    EXPECT_TRUE(loaded) << loaded.error().message;
  }
}

TEST_F(SynthTest, WeightsHaveTheirDistribution) {
  Make(Options("m"));
  const ModelConfig config = LoadConfig(folder_ / "m").value();
  const auto checkpoint = Checkpoint::Open(folder_ / "m").value();
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    if (spec.Elements() < 4096) continue;
    const auto [mean, deviation] = DistributionOf(spec, config);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 4096; ++i) {
      const double x = StoredElement(*checkpoint, spec.name, i) - mean;
      sum += x, squares += x * x;
    }
    EXPECT_NEAR(sum / 4096, 0, 0.08 * deviation) << spec.name;
    EXPECT_NEAR(std::sqrt(squares / 4096), deviation, 0.06 * deviation) << spec.name;
  }
  // The prediction layer's copies are copies.
  const int64_t layer = config.num_hidden_layers;
  for (int64_t i : {0, 1000, 100000}) {
    EXPECT_EQ(StoredElement(*checkpoint, LayerPrefix(layer) + "embed_tokens.weight", i),
              StoredElement(*checkpoint, "model.embed_tokens.weight", i));
    EXPECT_EQ(StoredElement(*checkpoint, LayerPrefix(layer) + "shared_head.head.weight", i),
              StoredElement(*checkpoint, "lm_head.weight", i));
  }
}

TEST_F(SynthTest, KeepsTheLayersAskedFor) {
  SynthOptions options = Options("m");
  options.layers = 2;
  Make(options);
  EXPECT_EQ(LoadConfig(folder_ / "m")->num_hidden_layers, 2);
  EXPECT_THAT(ReadFile(folder_ / "m" / kRandomWeightsFile).value(),
              HasSubstr("\nhadal synth --shape v3-tiny --weights bf16 --seed 5 --layers 2\n"));
}

TEST_F(SynthTest, TheFolderAppearsWithTheWordThatItsWeightsAreRandom) {
  SynthOptions options = Options("m");
  bool marked = true;
  options.progress = [&](uint64_t, uint64_t) {
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      marked = marked && std::filesystem::exists(entry.path() / kRandomWeightsFile);
    return true;
  };
  Make(options);
  EXPECT_TRUE(marked) << "the word came after weights";
  EXPECT_THAT(ReadFile(folder_ / "m" / kRandomWeightsFile).value(),
              HasSubstr("\nhadal synth --shape v3-tiny --weights bf16 --seed 5\n"));
}

TEST(SynthTokenizer, HasATokenForEveryIdOfEveryShape) {
  for (std::string_view shape : ShapeNames()) {
    const int64_t vocab = NamedShape(shape)->vocab_size;
    ASSERT_GE(vocab, kTinyTokenizerIds) << shape;
    const std::string json = SynthTokenizerJson(vocab);
    EXPECT_THAT(json, HasSubstr(fmt::format(": {}", vocab - 1))) << shape;
  }
  // A made-up word that was a token already would take that token's id away.
  const std::string base = SynthTokenizerJson(kTinyTokenizerIds),
                    more = SynthTokenizerJson(kTinyTokenizerIds + 1000);
  EXPECT_EQ(std::count(more.begin(), more.end(), '\n'), std::count(base.begin(), base.end(), '\n') + 1000);
}

TEST_F(SynthTest, StoppedLeavesNothing) {
  ThreadPool pool(2);
  SynthOptions options = Options("m");
  uint64_t seen = 0;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GT(done, seen);
    EXPECT_LE(done, total);
    seen = done;
    return done < total / 2;
  };
  ExpectError(Synthesize(options, pool), Code::kCancelled, "stopped");
  EXPECT_EQ(FilesInFolder(), 0u);
}

TEST_F(SynthTest, RefusesWhatItCannotDo) {
  ThreadPool pool(1);
  Put("file", "x");
  std::filesystem::create_directories(folder_ / "full/inner");
  std::filesystem::create_directories(folder_ / "empty");
  ExpectError(Synthesize(Options("full"), pool), Code::kFailedPrecondition, "not empty");
  ExpectError(Synthesize(Options("file"), pool), Code::kFailedPrecondition, "no folder");
  ExpectError(Synthesize(Options("missing/m"), pool), Code::kNotFound, "missing");
  ExpectError(Synthesize(Options("m", "int3"), pool), Code::kInvalidArgument, "int3");
  SynthOptions unknown = Options("m");
  unknown.shape = "v3-tny";
  ExpectError(Synthesize(unknown, pool), Code::kNotFound, "v3-tiny");
  SynthOptions layers = Options("m");
  layers.layers = 5;
  ExpectError(Synthesize(layers, pool), Code::kInvalidArgument, "1 to 4");
  EXPECT_EQ(FilesInFolder(), 3u);  // only what was there
  Make(Options("empty"));
  EXPECT_TRUE(Checkpoint::Open(folder_ / "empty").has_value());
}

}  // namespace
}  // namespace hadal
