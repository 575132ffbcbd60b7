#include "kernels/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace hadal {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Random(int64_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(engine);
  return values;
}

/// An F32 weight and the memory it points into.
struct OwnedWeight {
  OwnedWeight(int64_t out, int64_t in, uint32_t seed) : rows(Random(out * in, seed)) {
    w.out = out;
    w.in = in;
    panels.resize(static_cast<size_t>(w.values_bytes()));
    for (int64_t p = 0; p < w.panel_count(); ++p)
      PackPanel(w, p, rows.data() + p * kPanel * in, in, std::min(kPanel, out - p * kPanel), panels.data());
    w.panels = panels.data();
  }
  std::vector<float> rows;
  std::vector<std::byte> panels;
  LinearWeight w;
};

OpLimits Limits() {
  OpLimits limits;
  limits.prepared_bytes = PreparedBytesBound(256, 256);
  limits.jobs = 16;
  limits.prompt_run = 8;
  limits.context = 2048;
  limits.nope = 16;
  limits.rope = 8;
  limits.value = 16;
  limits.latent = 32;
  return limits;
}

class Ops : public testing::TestWithParam<int> {
 protected:
  Ops() : pool_(GetParam()), ctx_(ExecContext::Create(CpuKernels(BestIsa()), pool_, Limits()).value()) {}
  ThreadPool pool_;
  ExecContext ctx_;
};
INSTANTIATE_TEST_SUITE_P(Threads, Ops, testing::Values(1, 3));

TEST_P(Ops, LinearsRunTogetherEqualEachAlone) {
  const OwnedWeight a(70, 33, 1), b(16, 33, 2), c(5, 20, 3);
  const std::vector<float> x = Random(9 * 33, 4), z = Random(4 * 20, 5);
  const View<const float> vx(x.data(), 9, 33), vz(z.data(), 4, 20);
  const int32_t picked[] = {8, 0, 3};
  std::vector<float> ya(9 * 70, kNaN), yb(3 * 16, kNaN), yc(4 * 5, kNaN), none(1, kNaN);
  const ops::LinearJob jobs[] = {{vx, &a.w, View<float>(ya.data(), 9, 70)},
                                 {vx, &b.w, View<float>(yb.data(), 3, 16), picked},
                                 {vx, &b.w, View<float>(none.data(), 0, 16), picked},
                                 {vz, &c.w, View<float>(yc.data(), 4, 5)}};
  ops::Linears(ctx_, jobs);

  std::vector<float> alone(9 * 70), row(16), small(4 * 5);
  ops::Linear(ctx_, vx, a.w, View<float>(alone.data(), 9, 70));
  EXPECT_EQ(ya, alone);
  for (int64_t i = 0; i < 3; ++i) {
    ops::Linear(ctx_, vx.Rows(picked[i], 1), b.w, View<float>(row.data(), 1, 16));
    EXPECT_TRUE(std::equal(row.begin(), row.end(), yb.begin() + i * 16)) << i;
  }
  ops::Linear(ctx_, vz, c.w, View<float>(small.data(), 4, 5));
  EXPECT_EQ(yc, small);
  EXPECT_TRUE(std::isnan(none[0]));
}

// Experts stored in different formats share their tokens' rows: each format prepares them once, in any order of jobs.
TEST_P(Ops, JobsOfAlternatingFormatsPrepareTheirSharedInputOnce) {
  const OwnedWeight a(16, 200, 1);
  LinearWeight rounded = a.w;  // the same values, read as if the kernel rounded its inputs
  rounded.input = InputFormat::kE4M3;
  const std::vector<float> x = Random(100 * 200, 4);
  const View<const float> vx(x.data(), 100, 200);
  std::vector<float> y(12 * 100 * 16, kNaN);
  std::vector<ops::LinearJob> jobs;
  for (int64_t j = 0; j < 12; ++j)
    jobs.push_back({vx, j % 2 ? &rounded : &a.w, View<float>(y.data() + j * 1600, 100, 16)});
  ops::Linears(ctx_, jobs);  // scratch holds the rows twice, not twelve times
  for (int64_t j = 2; j < 12; ++j)
    EXPECT_TRUE(std::equal(y.begin() + j * 1600, y.begin() + (j + 1) * 1600, y.begin() + j % 2 * 1600)) << j;
  EXPECT_NE(y[0], y[1600]);
}

/// A cache of random latents with blocks in scrambled order.
struct RandomCache {
  explicit RandomCache(int64_t positions, int64_t width, int64_t block_size)
      : values(Random(((positions + block_size - 1) / block_size) * block_size * width, 7)),
        table(static_cast<size_t>((positions + block_size - 1) / block_size)) {
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(8));
    cache = {reinterpret_cast<std::byte*>(values.data()), block_size, width, false};
  }
  const float* Row(int64_t p) const { return reinterpret_cast<const float*>(cache.Row(table.data(), p)); }
  std::vector<float> values;
  std::vector<int32_t> table;
  ops::LayerCache cache;
};

/// softmax(scale * q . rows) weighted rows, in double: one head, latent part only.
std::vector<double> PlainAttention(const RandomCache& cache, int64_t position, const float* q_latent,
                                   const float* q_rope, int64_t latent, int64_t rope, double scale) {
  std::vector<double> scores;
  for (int64_t p = 0; p <= position; ++p) {
    double dot = 0;
    for (int64_t i = 0; i < latent; ++i) dot += double{q_latent[i]} * cache.Row(p)[i];
    for (int64_t i = 0; i < rope; ++i) dot += double{q_rope[i]} * cache.Row(p)[latent + i];
    scores.push_back(dot * scale);
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> out(static_cast<size_t>(latent));
  for (int64_t p = 0; p <= position; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p)] - top);
    sum += weight;
    for (int64_t i = 0; i < latent; ++i) out[static_cast<size_t>(i)] += weight * cache.Row(p)[i];
  }
  for (double& o : out) o /= sum;
  return out;
}

// Positions on both sides of split and tile borders; 20 heads make a full and a partial group of 16.
TEST_P(Ops, AbsorbedAttentionOverManySplitsIsTheFormulaAndTheSameAloneAndTogether) {
  const int64_t heads = 20, latent = 32, rope = 8, stride = 24;
  const RandomCache cache(2048, latent + rope, 7);
  std::vector<ops::Query> queries;
  for (const int64_t position : {0, 31, 32, 511, 512, 1023, 1024, 1500, 2047})
    queries.push_back({position, cache.table.data()});
  const int64_t count = static_cast<int64_t>(queries.size());
  const std::vector<float> q_latent = Random(count * heads * latent, 9), q_rope = Random(count * heads * stride, 10);
  const View<const float> ql(q_latent.data(), count, heads * latent), qr(q_rope.data(), count, heads * stride);
  std::vector<float> out(q_latent.size(), kNaN), alone(static_cast<size_t>(heads * latent), kNaN);
  ops::AttendAbsorbed(ctx_, queries, cache.cache, ql, qr, stride, heads, 0.2f,
                      View<float>(out.data(), count, heads * latent));
  for (int64_t i = 0; i < count; ++i) {
    ops::AttendAbsorbed(ctx_, std::span(queries).subspan(static_cast<size_t>(i), 1), cache.cache, ql.Rows(i, 1),
                        qr.Rows(i, 1), stride, heads, 0.2f, View<float>(alone.data(), 1, heads * latent));
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), out.begin() + i * heads * latent)) << "query " << i;
    for (int64_t h = 0; h < heads; ++h) {
      const std::vector<double> want =
          PlainAttention(cache, queries[static_cast<size_t>(i)].position, ql.row(i) + h * latent,
                         qr.row(i) + h * stride, latent, rope, 0.2f);
      for (int64_t c = 0; c < latent; ++c)
        ASSERT_NEAR(out[static_cast<size_t>((i * heads + h) * latent + c)], want[static_cast<size_t>(c)], 1e-5)
            << "query " << i << ", head " << h;
    }
  }
}

TEST_P(Ops, RopeTurnsEachHeadsPairsByItsPosition) {
  const std::vector<float> cosine{1, 1, 0, -1}, sine{0, 0, 1, 0};  // positions 0 and 1, two pairs
  const ops::RopeTable table{View<const float>(cosine.data(), 2, 2), View<const float>(sine.data(), 2, 2)};
  std::vector<float> x(2 * 10);
  std::iota(x.begin(), x.end(), 1.0f);
  const std::vector<float> before = x;
  const int32_t positions[] = {1, 0};
  ops::Rope(ctx_, table, positions, /*heads=*/2, /*offset=*/1, /*head_stride=*/5, View<float>(x.data(), 2, 10));
  // Row 0 stands at position 1: a quarter turn for pair 0, a half turn for pair 1.
  const std::vector<float> want{1, -3, 2, -4, -5, 6, -8, 7, -9, -10};
  EXPECT_TRUE(std::equal(want.begin(), want.end(), x.begin()));
  EXPECT_TRUE(std::equal(before.begin() + 10, before.end(), x.begin() + 10)) << "position 0 turns nothing";
}

TEST(OpsDeathTest, ShapesThatDoNotFitAreBugs) {
  ThreadPool pool(1);
  ExecContext ctx = ExecContext::Create(CpuKernels(BestIsa()), pool, Limits()).value();
  const OwnedWeight w(8, 8, 1);
  std::vector<float> x(8), y(9);
  EXPECT_DEATH(ops::Linear(ctx, View<const float>(x.data(), 1, 7), w.w, View<float>(y.data(), 1, 8)), "CHECK failed");
  EXPECT_DEATH(ops::Linear(ctx, View<const float>(x.data(), 1, 8), w.w, View<float>(y.data(), 1, 9)), "CHECK failed");
}

}  // namespace
}  // namespace hadal
