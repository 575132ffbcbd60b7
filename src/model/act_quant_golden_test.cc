// The number formats against the golden units: e4m3 both ways, and the quantised activations that kernels
// prepare.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cmath>
#include <cstring>

#include "kernels/kernel_table.h"
#include "model/checkpoint.h"
#include "tensor/dtype.h"

namespace hadal {
namespace {

constexpr int64_t kRows = 12, kWidth = 384, kBlocks = 3;

std::vector<uint8_t> ReadU8(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* tensor = checkpoint.Find(name);
  EXPECT_NE(tensor, nullptr) << name;
  std::vector<std::byte> scratch;
  const auto bytes = checkpoint.Read(*tensor, 0, kRows * kWidth, scratch);
  EXPECT_TRUE(bytes.has_value());
  std::vector<uint8_t> codes(kRows * kWidth);
  std::memcpy(codes.data(), bytes->data(), codes.size());
  return codes;
}

void CompareWithGolden(const KernelTable& table, InputFormat input, const std::string& form) {
  const auto golden = Checkpoint::OpenFile(Path(HADAL_TEST_DATA) / "golden/units/act_quant.safetensors");
  ASSERT_TRUE(golden.has_value()) << golden.error().message;
  const auto x = ReadF32(**golden, "x"), scales = ReadF32(**golden, form + ".scale");
  ASSERT_TRUE(x.has_value() && scales.has_value());
  const std::vector<uint8_t> codes = ReadU8(**golden, form + ".codes");
  const PanelWeight w = ToPanelWeight({.out = 1, .in = kWidth, .format = WeightFormat::kFp8, .input = input});
  std::vector<std::byte> prepared(static_cast<size_t>(PreparedRowBytes(w, table.bf16_pairs)));
  for (int64_t r = 0; r < kRows; ++r) {
    table.prepare(w, x->data() + r * kWidth, prepared.data());
    for (int64_t k = 0; k < kWidth; ++k) {
      float value;
      std::memcpy(&value, prepared.data() + k * 4, 4);
      ASSERT_EQ(value, ToFloat(e4m3{codes[static_cast<size_t>(r * kWidth + k)]}))
          << "row " << r << " input " << k;
    }
    for (int64_t b = 0; b < kBlocks; ++b) {
      float scale;
      std::memcpy(&scale, prepared.data() + PreparedValueBytes(w, table.bf16_pairs) + b * 4, 4);
      ASSERT_EQ(scale, (*scales)[static_cast<size_t>(r * kBlocks + b)]) << "row " << r << " block " << b;
    }
  }
}

TEST(ActQuantGolden, PreparedRowsHaveTheGoldenCodesAndScales) {
  std::vector<const KernelTable*> tables{&ReferenceKernels()};
  for (Isa isa : AvailableIsas()) tables.push_back(&CpuKernels(isa));
  for (const KernelTable* table : tables) {
    SCOPED_TRACE(table->name);
    CompareWithGolden(*table, InputFormat::kE4M3, "f32");
    CompareWithGolden(*table, InputFormat::kE4M3Pow2, "ue8m0");
  }
}

class E4M3Golden : public testing::Test {
 protected:
  void SetUp() override {
    const std::string file = HADAL_TEST_DATA "/golden/units/e4m3.json";
    ASSERT_EQ(parser_.load(file).get(root_), simdjson::SUCCESS) << file;
  }
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

TEST_F(E4M3Golden, DecodesEveryCode) {
  simdjson::dom::array values;
  ASSERT_EQ(root_["decode"].get(values), simdjson::SUCCESS);
  ASSERT_EQ(values.size(), 256u);
  int code = 0;
  for (const simdjson::dom::element entry : values) {
    const float value = ToFloat(e4m3{static_cast<uint8_t>(code)});
    if (entry.is_null()) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      double want = 0;
      ASSERT_EQ(entry.get(want), simdjson::SUCCESS);
      EXPECT_EQ(value, want) << code;
    }
    ++code;
  }
}

TEST_F(E4M3Golden, EncodesToTheGoldenCode) {
  simdjson::dom::array pairs;
  ASSERT_EQ(root_["encode"].get(pairs), simdjson::SUCCESS);
  ASSERT_GT(pairs.size(), 100u);
  for (const simdjson::dom::element pair : pairs) {
    double x = 0;
    uint64_t code = 0;
    ASSERT_EQ(pair.at(0).get(x), simdjson::SUCCESS);
    ASSERT_EQ(pair.at(1).get(code), simdjson::SUCCESS);
    EXPECT_EQ(ToE4M3(static_cast<float>(x)).bits, code) << x;
  }
}

}  // namespace
}  // namespace hadal
