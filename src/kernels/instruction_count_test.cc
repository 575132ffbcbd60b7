// A guard of speed that needs no clock: the hot kernels execute as many instructions as they did when their figure
// was written down, within 5 %. A tile that no longer fits its registers, a loop that lost its vectors or a check
// that moved into it shows here, on a busy machine too. Fewer instructions are a reason to lower the figure.
#include <map>

#include "kernels/count_instructions.h"
#include "kernels/kernel_test_util.h"

namespace hadal {
namespace {

using namespace testing_kernels;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HADAL_INSTRUMENTED 1
#endif
#endif

// One strip: the inner loops and little else.
constexpr int64_t kOut = 64, kIn = 256;

using Kernels = std::map<std::string, int64_t>;  // "format rows": instructions

// clang 19, -O3, the flags of flags.cmake. Written by running this test, which prints what it counts.
const std::map<std::string, Kernels> kInstructions = {
    {"avx2",
     {{"BF16xBF16 1", 8389},
      {"BF16xBF16 12", 75540},
      {"FP8xBF16 1", 29662},
      {"FP8xBF16 12", 149180},
      {"INT8xInt8_g32_bf16 1", 8038},
      {"INT8xInt8_g32_bf16 12", 68370},
      {"INT4xInt8_g32_bf16 1", 5091},
      {"INT4xInt8_g32_bf16 12", 41472}}},
    {"avx512",
     {{"BF16xBF16 1", 2678},
      {"BF16xBF16 12", 14038},
      {"FP8xBF16 1", 4406},
      {"FP8xBF16 12", 16904},
      {"INT8xInt8_g32_bf16 1", 2928},
      {"INT8xInt8_g32_bf16 12", 13608},
      {"INT4xInt8_g32_bf16 1", 2810},
      {"INT4xInt8_g32_bf16 12", 12521}}},
};

/// Why instructions cannot be compared in this build or on this machine; empty if they can.
std::string CannotCompare() {
#if defined(HADAL_INSTRUMENTED)
  return "a sanitizer's instructions are among the kernels'";
#elif !defined(__clang_major__) || __clang_major__ != 19
  return "the figures are clang 19's";
#elif !defined(__x86_64__)
  return "the figures are x86-64's";
#else
  const Result<int64_t> tried = CountInstructions([] {});
  return tried ? "" : tried.error().message;
#endif
}

Result<int64_t> CountLinear(const KernelTable& table, const LinearCase& c, int64_t rows) {
  const RandomWeight random(c, kOut, kIn, 1);
  const PanelWeight w = random.panel();
  const std::vector<float> x = RandomFloats(rows * kIn, 2);
  const PreparedRows inputs(table, w, x.data(), rows);
  std::vector<float> outputs(static_cast<size_t>(rows * kOut));
  std::vector<float*> y;
  for (int64_t r = 0; r < rows; ++r) y.push_back(outputs.data() + r * kOut);
  const int64_t panels = random.weight.panel_count();
  return CountInstructions([&] { table.linear(w, inputs.rows.data(), rows, 0, panels, y.data()); });
}

TEST(InstructionCount, OfTheHotKernelsIsWithinFivePercentOfItsFigure) {
  const std::string why = CannotCompare();
  if (!why.empty()) GTEST_SKIP() << "instructions are not compared: " << why;
  using W = WeightFormat;
  using I = InputFormat;
  const LinearCase cases[] = {{W::kBF16, I::kBF16},
                              {W::kFp8, I::kBF16},
                              {W::kInt8, I::kInt8, 32, true},
                              {W::kInt4, I::kInt8, 32, true}};
  for (const KernelTable* table : VectorTables()) {
    const auto figures = kInstructions.find(table->name);
    if (figures == kInstructions.end()) continue;
    const auto compare = [&](const std::string& name, const Result<int64_t>& counted) {
      ASSERT_TRUE(counted) << name << ": " << counted.error().message;
      std::printf("%s {\"%s\", %lld}\n", table->name, name.c_str(), static_cast<long long>(*counted));
      const auto figure = figures->second.find(name);
      ASSERT_NE(figure, figures->second.end()) << name << " has no figure";
      const double ratio = static_cast<double>(*counted) / static_cast<double>(figure->second);
      EXPECT_TRUE(ratio > 0.95 && ratio < 1.05) << table->name << " " << name << ": " << *counted << " instructions, "
                                                << figure->second << " when the figure was written";
    };
    for (const LinearCase& c : cases)
      for (int64_t rows : {1, 12})
        compare(Name(c) + " " + std::to_string(rows), CountLinear(*table, c, rows));
  }
}

}  // namespace
}  // namespace hadal
