// Linear: every table against the reference, at every tail, in bits where bits are promised.
#include <algorithm>

#include "kernels/kernel_test_util.h"
#include "kernels/ref/reference.h"

namespace hadal {
namespace {

using namespace testing_kernels;

constexpr int64_t kRows = 13;

std::vector<LinearCase> Cases() {
  using W = WeightFormat;
  using I = InputFormat;
  std::vector<LinearCase> cases{{W::kF32, I::kF32},   {W::kF16, I::kF32},     {W::kBF16, I::kF32},
                                {W::kBF16, I::kBF16}, {W::kFp8, I::kF32},     {W::kFp8, I::kBF16},
                                {W::kFp8, I::kE4M3},  {W::kFp8, I::kE4M3Pow2}};
  for (W format : {W::kInt8, W::kInt4})
    for (I input : {I::kF32, I::kInt8})
      for (int32_t group : {32, 64, 128})
        for (bool bf16_scales : {false, true}) cases.push_back({format, input, group, bf16_scales});
  return cases;
}

/// Rows through one table, with every row's outputs guarded.
struct Product {
  std::vector<GuardedFloats> rows;
  explicit Product(int64_t m, int64_t out) : rows(static_cast<size_t>(m), GuardedFloats(out)) {}
  void Run(const KernelTable& table, const PanelWeight& w, const void* const* inputs, int64_t first_panel,
           int64_t panel_count) {
    std::vector<float*> y;
    for (GuardedFloats& row : rows) y.push_back(row.data());
    table.linear(w, inputs, static_cast<int64_t>(rows.size()), first_panel, panel_count, y.data());
  }
};

/// The error of summing n products in f32, in whatever order, relative to sum |x||w|: each of the n
/// additions, the product where it is not fused, and the scales' products round once, (n + 8) units at the
/// worst. Products of bf16 and e4m3 values and integer sums are exact and need less.
double Bound(int64_t in, double magnitude) { return static_cast<double>(in + 8) * kUnit * magnitude + 1e-30; }

class LinearTest : public testing::TestWithParam<LinearCase> {
 protected:
  static constexpr int64_t kOutputs[] = {1, 7, 16, 17, 40, 64, 100};
  static constexpr int64_t kInputs[] = {1, 2, 3, 7, 16, 31, 64, 127, 128, 129, 200, 384};
};

TEST_P(LinearTest, IsWithinTheRoundingErrorOfTheReference) {
  double worst = 0;  // error as a share of the bound
  for (int64_t out : kOutputs) {
    for (int64_t in : kInputs) {
      const RandomWeight random(GetParam(), out, in, static_cast<uint64_t>(out * 1000 + in));
      const PanelWeight w = random.panel();
      const std::vector<float> x = RandomFloats(kRows * in, static_cast<uint64_t>(in));
      const PreparedRows inputs(ReferenceKernels(), w, x.data(), kRows);
      Product want(kRows, out);
      want.Run(ReferenceKernels(), w, inputs.rows.data(), 0, random.weight.panel_count());
      for (const KernelTable* table : VectorTables()) {
        const PreparedRows prepared(*table, w, x.data(), kRows);
        Product got(kRows, out);
        got.Run(*table, w, prepared.rows.data(), 0, random.weight.panel_count());
        for (int64_t o = 0; o < out; ++o) {
          const std::vector<double> weights = reference::WeightRow(w, o);
          for (size_t r = 0; r < kRows; ++r) {
            const std::vector<double> values = reference::InputValues(w, inputs.rows[r]);
            double magnitude = 0;
            for (size_t k = 0; k < values.size(); ++k) magnitude += std::fabs(values[k] * weights[k]);
            const double error = std::fabs(double{got.rows[r][o]} - want.rows[r][o]);
            ASSERT_LE(error, Bound(in, magnitude))
                << table->name << " [" << out << ", " << in << "] row " << r << " output " << o << ": "
                << got.rows[r][o] << " against " << want.rows[r][o];
            worst = std::max(worst, error / Bound(in, magnitude));
          }
        }
        for (const GuardedFloats& row : got.rows) ASSERT_TRUE(row.GuardsIntact()) << table->name;
      }
    }
  }
  RecordProperty("worst_share_of_bound_permille", static_cast<int>(worst * 1000));
}

// The promise that everything above rests on: a row has the same bits alone and in any batch, whichever
// panels are computed in one call.
TEST_P(LinearTest, ARowsBitsDependOnNothingBesideIt) {
  for (const KernelTable* table : VectorTables()) {
    for (int64_t out : kOutputs) {
      for (int64_t in : kInputs) {
        SCOPED_TRACE(testing::Message() << table->name << " [" << out << ", " << in << "]");
        const RandomWeight random(GetParam(), out, in, static_cast<uint64_t>(out * 1000 + in));
        const PanelWeight w = random.panel();
        const int64_t panels = random.weight.panel_count();
        const std::vector<float> x = RandomFloats(kRows * in, static_cast<uint64_t>(in));
        const PreparedRows inputs(*table, w, x.data(), kRows);
        Product whole(kRows, out);
        whole.Run(*table, w, inputs.rows.data(), 0, panels);
        for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 12}) {
          for (int64_t first : {int64_t{0}, int64_t{1}, kRows - m}) {
            Product part(m, out);
            part.Run(*table, w, inputs.rows.data() + first, 0, panels);
            for (int64_t r = 0; r < m; ++r)
              ASSERT_TRUE(
                  part.rows[static_cast<size_t>(r)].SameBits(whole.rows[static_cast<size_t>(first + r)]))
                  << m << " rows from " << first << ", row " << r;
          }
        }
        for (int64_t step : {1, 2, 3, 5}) {
          for (int64_t m : {int64_t{1}, kRows}) {
            Product split(m, out);
            for (int64_t p = 0; p < panels; p += step)
              split.Run(*table, w, inputs.rows.data(), p, std::min(step, panels - p));
            for (int64_t r = 0; r < m; ++r)
              ASSERT_TRUE(split.rows[static_cast<size_t>(r)].SameBits(whole.rows[static_cast<size_t>(r)]))
                  << "panels by " << step << ", row " << r << " of " << m;
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, WritesOnlyTheOutputsItIsAskedFor) {
  const int64_t out = 100;
  const RandomWeight random(GetParam(), out, 129, 1);
  const PanelWeight w = random.panel();
  const std::vector<float> x = RandomFloats(kRows * 129, 2);
  for (const KernelTable* table : VectorTables()) {
    const PreparedRows inputs(*table, w, x.data(), kRows);
    for (int64_t first : {0, 1, 3, 6}) {
      for (int64_t count : {1, 2, 4}) {
        if (first + count > random.weight.panel_count()) continue;
        Product got(kRows, out);
        got.Run(*table, w, inputs.rows.data(), first, count);
        for (const GuardedFloats& row : got.rows) {
          ASSERT_TRUE(row.GuardsIntact());
          for (int64_t o = 0; o < out; ++o) {
            const bool asked = o >= first * kPanel && o < (first + count) * kPanel;
            ASSERT_EQ(std::isnan(row[o]), !asked)
                << table->name << " panels " << first << "+" << count << " output " << o;
          }
        }
      }
    }
  }
}

// AVX2 and AVX-512 fuse every multiply-add in the same order, so they give the same bits; only the bf16 dot
// product (a pair at a time) has another order.
TEST_P(LinearTest, Avx2AndAvx512GiveTheSameBits) {
  if (BestIsa() < Isa::kAvx512) GTEST_SKIP() << "this processor has no AVX-512";
  if (GetParam().input == InputFormat::kBF16) GTEST_SKIP() << "AVX-512 multiplies bf16 pairs";
  const KernelTable &avx2 = CpuKernels(Isa::kAvx2), &avx512 = CpuKernels(Isa::kAvx512);
  for (int64_t in : kInputs) {
    const RandomWeight random(GetParam(), 40, in, static_cast<uint64_t>(in));
    const PanelWeight w = random.panel();
    const std::vector<float> x = RandomFloats(kRows * in, static_cast<uint64_t>(in));
    const PreparedRows first(avx2, w, x.data(), kRows), second(avx512, w, x.data(), kRows);
    Product a(kRows, 40), b(kRows, 40);
    a.Run(avx2, w, first.rows.data(), 0, random.weight.panel_count());
    b.Run(avx512, w, second.rows.data(), 0, random.weight.panel_count());
    for (size_t r = 0; r < kRows; ++r)
      ASSERT_TRUE(a.rows[r].SameBits(b.rows[r])) << "in " << in << " row " << r;
  }
}

// A NaN that enters must not leave as a number.
TEST_P(LinearTest, NaNAndInfinityInARowStayVisible) {
  for (int64_t in : {16, 129}) {
    const RandomWeight random(GetParam(), 17, in, 5);
    const PanelWeight w = random.panel();
    for (float bad : {kNaN, std::numeric_limits<float>::infinity()}) {
      for (int64_t place : {int64_t{0}, in - 1}) {
        std::vector<float> x = RandomFloats(2 * in, 6);
        x[static_cast<size_t>(place)] = bad;
        for (const KernelTable* table : VectorTables()) {
          const PreparedRows inputs(*table, w, x.data(), 2);
          Product got(2, 17);
          got.Run(*table, w, inputs.rows.data(), 0, 2);
          for (int64_t o = 0; o < 17; ++o) {
            ASSERT_FALSE(std::isfinite(got.rows[0][o])) << table->name << " in " << in << " place " << place;
            ASSERT_TRUE(std::isfinite(got.rows[1][o])) << table->name << ": spoilt the row beside it";
          }
        }
      }
    }
  }
}

TEST(Linear, ANaNWeightStaysVisible) {
  for (InputFormat input : {InputFormat::kF32, InputFormat::kBF16, InputFormat::kE4M3}) {
    for (uint8_t code : {0x7f, 0xff}) {
      RandomWeight random({WeightFormat::kFp8, input}, 40, 129, 1);
      std::vector<uint8_t> rows(40 * 129, 0x38);  // ones
      rows[3 * 129 + 128] = code;
      PackPanel<uint8_t>(random.weight, 0, rows.data(), 129, kPanel, random.panels.data());
      const std::vector<float> x = RandomFloats(129, 2);
      for (const KernelTable* table : VectorTables()) {
        const PreparedRows inputs(*table, random.panel(), x.data(), 1);
        Product got(1, 40);
        got.Run(*table, random.panel(), inputs.rows.data(), 0, 3);
        for (int64_t o = 0; o < 40; ++o)
          ASSERT_EQ(std::isnan(got.rows[0][o]), o == 3) << table->name << " " << o;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, LinearTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return Name(info.param); });

}  // namespace
}  // namespace hadal
