// Prepared input rows: every table against the reference, number for number.
#include "kernels/kernel_test_util.h"

namespace hadal {
namespace {

using namespace testing_kernels;

/// A row prepared by one table, read back by its documented layout.
struct PreparedRow {
  PreparedRow(const KernelTable& table, const LinearCase& c, const std::vector<float>& x)
      : weight{.out = 1,
               .in = static_cast<int64_t>(x.size()),
               .format = c.format,
               .input = c.input,
               .group = c.group},
        w(ToPanelWeight(weight)),
        pairs(table.bf16_pairs),
        rows(table, w, x.data(), 1) {}

  template <typename T>
  T At(int64_t byte) const {
    T value;
    std::memcpy(&value, rows.memory[0].data() + byte, sizeof(T));
    return value;
  }
  float Value(int64_t k) const {
    if (w.input == InputFormat::kInt8) return At<int8_t>(k);
    if (w.input == InputFormat::kBF16 && pairs) return ToFloat(bf16{At<uint16_t>(k * 2)});
    return At<float>(k * 4);
  }
  float Scale(int64_t i) const { return At<float>(PreparedValueBytes(w, pairs) + i * 4); }
  int32_t CodeSum(int64_t i) const {
    return At<int32_t>(PreparedValueBytes(w, pairs) + (w.scale_count + i) * 4);
  }

  LinearWeight weight;
  PanelWeight w;
  bool pairs;
  PreparedRows rows;
};

const LinearCase kCases[] = {
    {WeightFormat::kF32, InputFormat::kF32},       {WeightFormat::kBF16, InputFormat::kF32},
    {WeightFormat::kBF16, InputFormat::kBF16},     {WeightFormat::kFp8, InputFormat::kBF16},
    {WeightFormat::kFp8, InputFormat::kE4M3},      {WeightFormat::kFp8, InputFormat::kE4M3Pow2},
    {WeightFormat::kInt8, InputFormat::kInt8, 32}, {WeightFormat::kInt4, InputFormat::kInt8, 64},
    {WeightFormat::kInt4, InputFormat::kInt8, 128}};

/// Rows whose sizes reach from where scales hit their floor to where f32 nearly ends.
std::vector<float> RowOfSize(int64_t in, float size) {
  std::vector<float> x = RandomFloats(in, static_cast<uint64_t>(in));
  for (float& v : x) v *= size;
  return x;
}

TEST(Prepare, GivesTheReferencesNumbersExactly) {
  for (const LinearCase& c : kCases) {
    for (int64_t in : {1, 2, 3, 15, 16, 17, 31, 127, 128, 129, 200, 384, 401}) {
      for (float size : {0.0f, 1e-38f, 1e-5f, 1.0f, 3e4f, 1e38f}) {
        const std::vector<float> x = RowOfSize(in, size);
        const PreparedRow want(ReferenceKernels(), c, x);
        for (const KernelTable* table : VectorTables()) {
          SCOPED_TRACE(testing::Message()
                       << table->name << " " << Name(c) << " in " << in << " size " << size);
          const PreparedRow got(*table, c, x);
          for (int64_t k = 0; k < got.w.padded_in; ++k) ASSERT_EQ(got.Value(k), want.Value(k)) << k;
          if (c.input == InputFormat::kF32 || c.input == InputFormat::kBF16) continue;
          for (int64_t i = 0; i < got.w.scale_count; ++i) {
            ASSERT_EQ(got.Scale(i), want.Scale(i)) << i;
            if (c.input == InputFormat::kInt8) ASSERT_EQ(got.CodeSum(i), want.CodeSum(i)) << i;
          }
        }
      }
    }
  }
}

TEST(Prepare, BF16RoundsTiesToEvenAndKeepsNaN) {
  const std::vector<float> x{1.0f, 0x1.01p0f, 0x1.03p0f, -0x1.01p0f, kNaN, 3.4e38f, 0x1.010002p0f};
  for (const KernelTable* table : VectorTables()) {
    const PreparedRow got(*table, {WeightFormat::kBF16, InputFormat::kBF16}, x);
    EXPECT_EQ(got.Value(0), 1.0f);
    EXPECT_EQ(got.Value(1), 1.0f) << table->name;
    EXPECT_EQ(got.Value(2), 0x1.04p0f) << table->name;
    EXPECT_EQ(got.Value(3), -1.0f);
    EXPECT_TRUE(std::isnan(got.Value(4)));
    EXPECT_EQ(got.Value(5), std::numeric_limits<float>::infinity());
    EXPECT_EQ(got.Value(6), 0x1.02p0f);
    EXPECT_EQ(got.Value(7), 0.0f) << "padding";
  }
}

// Every midpoint between neighbouring e4m3 numbers, and the floats next to it on both sides.
TEST(Prepare, E4M3RoundsEveryTieToEven) {
  std::vector<float> row;
  const auto add = [&row](float v) {
    if (row.size() % 128 == 0) row.push_back(448);  // in every block: makes its scale 1
    row.push_back(v);
  };
  for (uint8_t code = 0; code < 0x7e; ++code) {
    const float middle = (ToFloat(e4m3{code}) + ToFloat(e4m3{static_cast<uint8_t>(code + 1)})) / 2;
    for (float v :
         {middle, std::nextafter(middle, 1e9f), std::nextafter(middle, 0.0f), ToFloat(e4m3{code})}) {
      add(v);
      add(-v);
    }
  }
  for (const KernelTable* table : VectorTables()) {
    for (InputFormat input : {InputFormat::kE4M3, InputFormat::kE4M3Pow2}) {
      const PreparedRow got(*table, {WeightFormat::kFp8, input}, row);
      for (int64_t i = 0; i < got.w.scale_count; ++i) ASSERT_EQ(got.Scale(i), 1.0f);
      for (size_t k = 0; k < row.size(); ++k)
        ASSERT_EQ(got.Value(static_cast<int64_t>(k)), ToFloat(ToE4M3(row[k])))
            << table->name << " " << row[k];
    }
  }
}

TEST(Prepare, Pow2ScalesAreRoundedUp) {
  const LinearCase c{WeightFormat::kFp8, InputFormat::kE4M3Pow2};
  for (const KernelTable* table : VectorTables()) {
    EXPECT_EQ(PreparedRow(*table, c, {448.0f}).Scale(0), 1.0f);
    EXPECT_EQ(PreparedRow(*table, c, {std::nextafter(448.0f, 1e9f)}).Scale(0), 2.0f);
    EXPECT_EQ(PreparedRow(*table, c, {std::nextafter(448.0f, 0.0f)}).Scale(0), 1.0f);
    EXPECT_EQ(PreparedRow(*table, c, {224.0f}).Scale(0), 0.5f);
    EXPECT_EQ(PreparedRow(*table, c, {0.0f}).Scale(0), 0x1p-22f);  // 1e-4 / 448 = 2.2e-7, rounded up
  }
}

TEST(Prepare, Int8OfZerosTinyAndBrokenGroups) {
  const LinearCase c{WeightFormat::kInt8, InputFormat::kInt8, 32};
  for (const KernelTable* table : VectorTables()) {
    const PreparedRow zeros(*table, c, {0, 0, -0.0f});
    EXPECT_EQ(zeros.Scale(0), 0);
    EXPECT_EQ(zeros.CodeSum(0), 0);
    const PreparedRow tiny(*table, c, {1e-38f, -1e-39f});
    EXPECT_EQ(tiny.Scale(0), 0);
    EXPECT_EQ(tiny.Value(0), 0);
    std::vector<float> x(40, 1.0f);
    x[39] = kNaN;
    const PreparedRow broken(*table, c, x);
    EXPECT_EQ(broken.Scale(0), 1.0f / 127.0f) << "the other group is sound";
    EXPECT_EQ(broken.Value(0), 127);
    EXPECT_TRUE(std::isnan(broken.Scale(1)));
  }
}

TEST(KernelTable, NamesAndPreparedSizes) {
  EXPECT_STREQ(CpuKernels(Isa::kGeneric).name, "generic");
  EXPECT_STREQ(ReferenceKernels().name, "reference");
  for (Isa isa : AvailableIsas()) EXPECT_EQ(CpuKernels(isa).name, IsaName(isa));
  LinearWeight w{.out = 1, .in = 33, .format = WeightFormat::kBF16, .input = InputFormat::kBF16};
  EXPECT_EQ(PreparedRowBytes(ToPanelWeight(w), true), 128);   // 34 * 2 = 68
  EXPECT_EQ(PreparedRowBytes(ToPanelWeight(w), false), 192);  // 34 * 4 = 136
  w = {.out = 1, .in = 129, .format = WeightFormat::kFp8, .input = InputFormat::kE4M3};
  EXPECT_EQ(PreparedRowBytes(ToPanelWeight(w), true), 576 + 64);  // 132 * 4 = 528; two scales
  w = {.out = 1, .in = 33, .format = WeightFormat::kInt4, .input = InputFormat::kInt8, .group = 32};
  EXPECT_EQ(PreparedRowBytes(ToPanelWeight(w), true), 64 + 64);  // two groups: scales and sums
}

TEST(KernelTable, PromptRowsHoldAnyPreparedLatent) {
  for (const LinearCase& c : kCases) {
    for (int32_t group : {32, 128, 256}) {
      for (int64_t latent : {8, 16, 24, 32, 40, 100, 257, 512}) {
        for (bool pairs : {false, true}) {
          const LinearWeight w{.out = 1, .in = latent, .format = c.format, .input = c.input, .group = group};
          EXPECT_LE(PreparedRowBytes(ToPanelWeight(w), pairs), PromptRowBytes(latent))
              << Name(c) << " " << latent;
        }
      }
    }
  }
  const LinearWeight w{
      .out = 1, .in = 8, .format = WeightFormat::kInt8, .input = InputFormat::kF32, .group = 256};
  EXPECT_LE(PreparedRowBytes(ToPanelWeight(w), false), PromptRowBytes(8));
}

}  // namespace
}  // namespace hadal
