// Absorbed attention: every table against the reference, in scratch of exactly the promised size.
#include <memory>

#include "kernels/kernel_test_util.h"

namespace hadal {
namespace {

using namespace testing_kernels;

/// `count` cached tokens of `width` values, scattered in memory as blocks of a paged cache are.
struct Cache {
  Cache(int64_t count, int64_t width, bool bf16_rows, uint64_t seed)
      : values(RandomFloats(count * width, seed)) {
    for (float& v : values) v = RoundToBF16(v);  // so that both kinds of cache hold the same numbers
    for (int64_t t = 0; t < count; ++t) {
      std::vector<std::byte> row(static_cast<size_t>(width * (bf16_rows ? 2 : 4)));
      for (int64_t i = 0; i < width; ++i) {
        const float value = values[static_cast<size_t>(t * width + i)];
        const uint16_t code = ToBF16(value).bits;
        if (bf16_rows)
          std::memcpy(row.data() + i * 2, &code, 2);
        else
          std::memcpy(row.data() + i * 4, &value, 4);
      }
      memory.push_back(std::move(row));
    }
    for (const auto& row : memory) rows.push_back(row.data());
  }
  std::vector<float> values;
  std::vector<std::vector<std::byte>> memory;
  std::vector<const void*> rows;
};

struct Shape {
  int64_t heads, latent, rope;
};

constexpr float kScale = 0.3f;

/// The queries of one token, NaN between the heads, and what attention makes of them.
struct Problem {
  Problem(Shape s, uint64_t seed)
      : shape(s),
        q_latent(Spread(s.heads, s.latent, 3, seed)),
        q_rope(Spread(s.heads, s.rope, 5, seed + 1)) {}

  static std::vector<float> Spread(int64_t rows, int64_t width, int64_t gap, uint64_t seed) {
    std::vector<float> all(static_cast<size_t>(rows * (width + gap)), kNaN);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width; ++i)
        all[static_cast<size_t>(r * (width + gap) + i)] =
            RandomFloat(seed, static_cast<uint64_t>(r * width + i));
    return all;
  }

  Shape shape;
  std::vector<float> q_latent, q_rope;
};

struct Partial {
  Partial(const KernelTable& table, const Problem& p, const Cache& cache, bool bf16_rows, int64_t first,
          int64_t count, int64_t first_head = 0, int64_t head_count = -1)
      : heads(head_count < 0 ? p.shape.heads : head_count),
        latent(p.shape.latent),
        out(heads * latent),
        max(kPanel),
        sum(kPanel),
        scratch(AbsorbedScratch(p.shape.latent, p.shape.rope)) {
    AbsorbedArgs a{};
    a.q_latent_stride = latent + 3;
    a.q_rope_stride = p.shape.rope + 5;
    a.q_latent = p.q_latent.data() + first_head * a.q_latent_stride;
    a.q_rope = p.q_rope.data() + first_head * a.q_rope_stride;
    a.rows = cache.rows.data() + first;
    a.count = count;
    a.heads = heads;
    a.latent = latent;
    a.rope = p.shape.rope;
    a.cache_bf16 = bf16_rows;
    a.scale = kScale;
    a.out = out.data();
    a.max = max.data();
    a.sum = sum.data();
    a.scratch = scratch.data();
    table.attend_absorbed(a);
  }
  double Value(int64_t h, int64_t c) const { return double{out[h * latent + c]} / sum[h]; }
  bool GuardsIntact() const {
    return out.GuardsIntact() && max.GuardsIntact() && sum.GuardsIntact() && scratch.GuardsIntact();
  }

  int64_t heads, latent;
  GuardedFloats out, max, sum, scratch;
};

/// Errors of rounding are as good as random, so a sum of n terms of size s is off by some sqrt(n) units of
/// the sum's own size, which is about the root of the sum of s^2; four times that is allowed.
double ScoreError(const Problem& p, const Cache& cache) {
  const int64_t width = p.shape.latent + p.shape.rope;
  double worst = 0;
  for (size_t t = 0; t < cache.rows.size(); ++t) {
    double squares = 0;
    for (int64_t i = 0; i < width; ++i)
      squares += std::pow(cache.values[t * static_cast<size_t>(width) + static_cast<size_t>(i)], 2);
    worst = std::max(worst, std::sqrt(squares));  // |q| <= 1
  }
  return 4 * std::sqrt(static_cast<double>(width)) * kUnit * kScale * worst;
}

/// Of a weighted mean of values in [-1, 1]: a score's error moves its weight by as much, relatively, above
/// and below the fraction; each exponential is good to 4 units, and both sums round.
double ValueError(double score_error, int64_t count) {
  return 4 * score_error + (4 * std::sqrt(static_cast<double>(count)) + 32) * kUnit;
}

void ExpectSame(const Partial& got, const Partial& want, double score_error, int64_t count) {
  ASSERT_TRUE(got.GuardsIntact());
  for (int64_t h = 0; h < got.heads; ++h) {
    ASSERT_NEAR(got.max[h], want.max[h], score_error + 2 * kUnit * std::fabs(want.max[h])) << "head " << h;
    const double shift = std::exp(double{got.max[h]} - want.max[h]);
    ASSERT_NEAR(got.sum[h] * shift / want.sum[h], 1, ValueError(score_error, count)) << "head " << h;
    for (int64_t c = 0; c < got.latent; ++c)
      ASSERT_NEAR(got.Value(h, c), want.Value(h, c), ValueError(score_error, count))
          << "head " << h << " column " << c;
  }
}

TEST(AttendAbsorbed, AgreesWithTheReference) {
  for (int64_t heads : {1, 2, 8, 16}) {
    for (int64_t latent : {16, 32, 48, 100, 512}) {
      for (int64_t rope : {2, 8, 64}) {
        for (int64_t count : {1, 7, 31, 32, 33, 100, 512}) {
          const Problem p({heads, latent, rope}, static_cast<uint64_t>(latent + rope));
          for (bool bf16_rows : {false, true}) {
            const Cache cache(count, latent + rope, bf16_rows, static_cast<uint64_t>(count));
            const double score_error = ScoreError(p, cache);
            const Partial want(ReferenceKernels(), p, cache, bf16_rows, 0, count);
            for (const KernelTable* table : VectorTables()) {
              SCOPED_TRACE(testing::Message()
                           << table->name << " heads " << heads << " latent " << latent << " rope " << rope
                           << " count " << count << (bf16_rows ? " bf16" : " f32"));
              const Partial got(*table, p, cache, bf16_rows, 0, count);
              ASSERT_NO_FATAL_FAILURE(ExpectSame(got, want, score_error, count));
            }
          }
        }
      }
    }
  }
}

TEST(AttendAbsorbed, AHeadsBitsDoNotDependOnTheHeadsBesideIt) {
  const Problem p({16, 100, 8}, 1);
  const Cache cache(77, 108, true, 2);
  for (const KernelTable* table : VectorTables()) {
    const Partial all(*table, p, cache, true, 0, 77);
    for (int64_t first : {0, 5, 15}) {
      for (int64_t heads : {int64_t{1}, 16 - first}) {
        const Partial some(*table, p, cache, true, 0, 77, first, heads);
        for (int64_t h = 0; h < heads; ++h) {
          ASSERT_EQ(some.max[h], all.max[first + h]) << table->name;
          ASSERT_EQ(some.sum[h], all.sum[first + h]) << table->name;
        }
        ASSERT_EQ(
            0, std::memcmp(some.out.data(), all.out.data() + first * 100, static_cast<size_t>(heads * 400)));
      }
    }
  }
}

TEST(AttendAbsorbed, SplitsMergeIntoTheWhole) {
  const Problem p({8, 48, 8}, 3);
  const int64_t count = 300;
  const Cache cache(count, 56, false, 4);
  const double tolerance = ValueError(ScoreError(p, cache), count);
  for (const KernelTable* table : VectorTables()) {
    const Partial whole(ReferenceKernels(), p, cache, false, 0, count);
    for (int64_t cut : {1, 33, 128, 299}) {
      const Partial a(*table, p, cache, false, 0, cut), b(*table, p, cache, false, cut, count - cut);
      for (int64_t h = 0; h < 8; ++h) {
        const double top = std::max(a.max[h], b.max[h]);
        const double wa = std::exp(a.max[h] - top), wb = std::exp(b.max[h] - top);
        for (int64_t c = 0; c < 48; ++c) {
          const double merged =
              (wa * a.out[h * 48 + c] + wb * b.out[h * 48 + c]) / (wa * a.sum[h] + wb * b.sum[h]);
          ASSERT_NEAR(merged, whole.Value(h, c), tolerance) << table->name << " cut " << cut << " head " << h;
        }
      }
    }
  }
}

TEST(AttendAbsorbed, NaNInAQueryOrACachedTokenStaysVisible) {
  for (const KernelTable* table : VectorTables()) {
    Problem p({2, 32, 8}, 5);
    const Cache sound(40, 40, false, 6);
    p.q_latent[3] = kNaN;
    const Partial bad_query(*table, p, sound, false, 0, 40);
    EXPECT_TRUE(std::isnan(bad_query.Value(0, 0))) << table->name;
    EXPECT_FALSE(std::isnan(bad_query.Value(1, 0))) << table->name << ": spoilt the other head";
    p.q_latent[3] = 0;
    Cache broken(40, 40, false, 6);
    std::memcpy(broken.memory[37].data() + 4, &kNaN, 4);
    const Partial bad_token(*table, p, broken, false, 0, 40);
    EXPECT_TRUE(std::isnan(bad_token.Value(0, 0))) << table->name;
  }
}

}  // namespace
}  // namespace hadal
