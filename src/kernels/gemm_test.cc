#include "kernels/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/kernel_test_util.h"

namespace hadal {
namespace {

using testing_kernels::RandomFloat;

template <typename T>
constexpr T kPoison = std::numeric_limits<T>::quiet_NaN();

/// rows x cols random numbers, `gap` poisoned elements behind each row.
template <typename T>
struct Matrix {
  Matrix(int64_t rows, int64_t cols, uint64_t seed, int64_t gap = 3)
      : values(static_cast<size_t>(rows * (cols + gap)), kPoison<T>),
        view(values.data(), rows, cols, cols + gap) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        view.at(i, j) = RandomFloat(seed, static_cast<uint64_t>(i * cols + j));
  }
  std::vector<T> values;
  View<T> view;
};

template <typename T>
Factor<T> Of(const Matrix<T>& m, bool transposed) {
  return {View<const T>(m.view), transposed};
}

double Rounded(double x, Compute compute) {
  if (compute == Compute::kBF16) return RoundToBF16(static_cast<float>(x));
  if (compute == Compute::kF16) return ToFloat(ToF16(static_cast<float>(x)));
  return x;
}

struct Case {
  int64_t m, n, k;
  bool transpose_a, transpose_b, accumulate;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.m << "x" << c.n << "x" << c.k << (c.transpose_a ? " aT" : "")
             << (c.transpose_b ? " bT" : "") << (c.accumulate ? " +=" : "");
}

template <typename T>
void ExpectProduct(const GemmTable& table, Compute compute, const Case& c) {
  SCOPED_TRACE(testing::Message() << table.name << " compute " << static_cast<int>(compute) << " " << c);
  const Matrix<T> a(c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, 1);
  const Matrix<T> b(c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, 2);
  const Matrix<T> old(c.m, c.n, 3);
  Matrix<T> got = old;
  got.view.data = got.values.data();
  if (!c.accumulate)
    for (int64_t i = 0; i < c.m; ++i) std::fill_n(got.view.row(i), c.n, kPoison<T>);
  ThreadPool pool(2);
  GemmContext context = GemmContext::Create(table, pool).value();
  Gemm(context, compute, Of(a, c.transpose_a), Of(b, c.transpose_b), got.view, c.accumulate);
  const double unit = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      double sum = c.accumulate ? double{old.values[static_cast<size_t>(i * old.view.stride + j)]} : 0.0,
             size = 1;
      for (int64_t k = 0; k < c.k; ++k) {
        const double x = Rounded(c.transpose_a ? a.view.at(k, i) : a.view.at(i, k), compute);
        const double y = Rounded(c.transpose_b ? b.view.at(j, k) : b.view.at(k, j), compute);
        sum += x * y;
        size += std::fabs(x * y);
      }
      ASSERT_NEAR(got.view.at(i, j), sum, size * unit * 8 * std::sqrt(static_cast<double>(c.k) + 1))
          << i << "," << j;
    }
    for (int64_t j = c.n; j < got.view.stride; ++j)
      ASSERT_TRUE(std::isnan(got.view.data[i * got.view.stride + j])) << "written beside row " << i;
  }
}

std::vector<const GemmTable*> AllTables() {
  std::vector<const GemmTable*> tables{&ReferenceGemm()};
  for (Isa isa : AvailableIsas()) tables.push_back(&CpuGemm(isa));
  return tables;
}

void ExpectProductEverywhere(const Case& c) {
  for (const GemmTable* table : AllTables()) {
    ASSERT_NO_FATAL_FAILURE(ExpectProduct<double>(*table, Compute::kF64, c));
    for (Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16})
      ASSERT_NO_FATAL_FAILURE(ExpectProduct<float>(*table, compute, c));
  }
}

TEST(Gemm, AgreesWithPlainSumsAtEveryTail) {
  for (int64_t m : {1, 2, 5, 11, 12, 13, 25})
    for (int64_t n : {1, 15, 16, 17, 31, 33})
      for (int64_t k : {1, 2, 15, 33})
        ASSERT_NO_FATAL_FAILURE(
            ExpectProductEverywhere({m, n, k, (m + n) % 2 == 0, (n + k) % 2 == 0, k == 2}));
}

TEST(Gemm, AgreesWithPlainSumsInEveryOrientation) {
  for (bool a : {false, true})
    for (bool b : {false, true})
      for (bool accumulate : {false, true})
        ASSERT_NO_FATAL_FAILURE(ExpectProductEverywhere({29, 70, 131, a, b, accumulate}));
}

// Longer than a block in each direction: sums go on where the block before left them.
TEST(Gemm, AgreesWithPlainSumsBeyondABlock) {
  ASSERT_NO_FATAL_FAILURE(ExpectProductEverywhere({7, 35, 1100, true, false, false}));
  for (const GemmTable* table : AllTables()) {
    ASSERT_NO_FATAL_FAILURE(ExpectProduct<float>(*table, Compute::kBF16, {2100, 9, 520, false, true, true}));
    ASSERT_NO_FATAL_FAILURE(ExpectProduct<float>(*table, Compute::kF32, {5, 2100, 260, true, false, false}));
  }
}

TEST(Gemm, AnEmptySumIsZeroOrWhatWasThere) {
  ThreadPool pool(1);
  GemmContext context = GemmContext::Create(CpuGemm(BestIsa()), pool).value();
  std::vector<float> c(6, 2.5f);
  const Factor<float> a{View<const float>(nullptr, 2, 0)}, b{View<const float>(nullptr, 0, 3)};
  Gemm(context, Compute::kBF16, a, b, View<float>(c.data(), 2, 3), true);
  EXPECT_EQ(c, std::vector<float>(6, 2.5f));
  Gemm(context, Compute::kBF16, a, b, View<float>(c.data(), 2, 3), false);
  EXPECT_EQ(c, std::vector<float>(6, 0.0f));
}

// An element is its row of a times its column of b, whatever surrounds it and whoever computes it.
TEST(Gemm, BitsDependOnNeitherThreadsNorNeighboursNorTheCall) {
  const Matrix<float> a(203, 700, 4), b(150, 700, 5);
  for (const GemmTable* table : AllTables()) {
    for (Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16}) {
      SCOPED_TRACE(testing::Message() << table->name << " compute " << static_cast<int>(compute));
      std::vector<float> want;
      for (int threads : {1, 2, 3}) {
        ThreadPool pool(threads);
        GemmContext context = GemmContext::Create(*table, pool).value();
        std::vector<float> got(203 * 150);
        Gemm(context, compute, Of(a, false), Of(b, true), View<float>(got.data(), 203, 150), false);
        if (want.empty()) want = got;
        ASSERT_EQ(got, want) << threads << " threads";
        // As twelve jobs of 17 rows or fewer.
        std::vector<float> together(203 * 150);
        std::vector<GemmJob<float>> jobs;
        for (int64_t i = 0; i < 203; i += 17) {
          const int64_t rows = std::min<int64_t>(17, 203 - i);
          jobs.push_back({{View<const float>(a.view.Rows(i, rows))},
                          Of(b, true),
                          View<float>(together.data() + i * 150, rows, 150)});
        }
        Gemms<float>(context, compute, jobs, false);
        ASSERT_EQ(together, want) << threads << " threads, jobs";
      }
    }
  }
}

// The vector targets give the same f32 bits wherever they fuse multiply and add.
TEST(Gemm, FusedTargetsAgreeBitForBit) {
  if (BestIsa() < Isa::kAvx512) GTEST_SKIP() << "one fused target here";
  const Matrix<float> a(31, 300, 6), b(300, 45, 7);
  std::vector<float> results[2];
  ThreadPool pool(1);
  for (int i = 0; i < 2; ++i) {
    results[i].resize(31 * 45);
    GemmContext context = GemmContext::Create(CpuGemm(i == 0 ? Isa::kAvx2 : Isa::kAvx512), pool).value();
    Gemm(context, Compute::kF32, Of(a, false), Of(b, false), View<float>(results[i].data(), 31, 45), false);
  }
  EXPECT_EQ(results[0], results[1]);
}

// Products of one factor with the identity show how it was rounded.
TEST(Gemm, FactorsAreRoundedToNearestEven) {
  std::vector<float> x{1.0f,     1.00390625f, 1.01171875f,  65504.0f, 65519.0f,
                       65520.0f, -65520.0f,   1e30f,        0x1p-24f, 0x1.8p-24f,
                       0x1p-25f, -0x1.8p-15f, 0x1.ffep-15f, 0.1f,     -3.14159265f};
  for (int i = 0; i < 2000; ++i)
    x.push_back(std::ldexp(RandomFloat(8, static_cast<uint64_t>(i)), i % 36 - 20));
  const int64_t n = static_cast<int64_t>(x.size());
  const float one = 1;
  ThreadPool pool(1);
  for (Isa isa : AvailableIsas()) {
    GemmContext context = GemmContext::Create(CpuGemm(isa), pool).value();
    for (Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16}) {
      for (bool along : {false, true}) {
        std::vector<float> y(x.size());
        const Factor<float> unit{View<const float>(&one, 1, 1)};
        // A summed index of one: the numbers are neighbouring lanes, or lanes of one position each.
        if (along)
          Gemm(context, compute, Factor<float>{View<const float>(x.data(), n, 1)}, unit,
               View<float>(y.data(), n, 1), false);
        else
          Gemm(context, compute, unit, Factor<float>{View<const float>(x.data(), 1, n)},
               View<float>(y.data(), 1, n), false);
        for (size_t i = 0; i < x.size(); ++i)
          ASSERT_EQ(y[i], static_cast<float>(Rounded(x[i], compute)))
              << IsaName(isa) << " compute " << static_cast<int>(compute) << " of " << x[i];
      }
    }
  }
}

TEST(Gemm, NaNStaysVisibleInItsRowAndColumn) {
  for (const GemmTable* table : AllTables()) {
    for (Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16}) {
      Matrix<float> a(14, 37, 9), b(37, 40, 10);
      a.view.at(13, 36) = std::numeric_limits<float>::quiet_NaN();
      std::vector<float> c(14 * 40);
      ThreadPool pool(1);
      GemmContext context = GemmContext::Create(*table, pool).value();
      Gemm(context, compute, Of(a, false), Of(b, false), View<float>(c.data(), 14, 40), false);
      for (int64_t i = 0; i < 14 * 40; ++i)
        ASSERT_EQ(std::isnan(c[static_cast<size_t>(i)]), i / 40 == 13) << table->name << " at " << i;
    }
  }
}

}  // namespace
}  // namespace hadal
