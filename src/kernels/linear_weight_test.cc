#include "kernels/linear_weight.h"

#include "kernels/kernel_test_util.h"

namespace hadal {
namespace {

using namespace testing_kernels;

std::vector<LinearCase> StorageCases() {
  std::vector<LinearCase> cases;
  for (WeightFormat format :
       {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16, WeightFormat::kFp8})
    cases.push_back({format, InputFormat::kF32});
  for (WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4})
    for (int32_t group : {8, 32, 128})
      for (bool bf16_scales : {false, true}) cases.push_back({format, InputFormat::kF32, group, bf16_scales});
  return cases;
}

// PackedCode follows the layout's definition element by element; PackPanel writes whole units. They must
// agree, and everything else in a panel must be the code of zero.
TEST(LinearWeight, PackPanelPutsEveryCodeInItsPlaceAndPadsWithZeros) {
  for (const LinearCase& c : StorageCases()) {
    for (int64_t out : {1, 15, 16, 17, 40}) {
      for (int64_t in : {1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 127, 129, 520, 1030}) {
        SCOPED_TRACE(testing::Message() << Name(c) << " [" << out << ", " << in << "]");
        const RandomWeight random(c, out, in, static_cast<uint64_t>(out * 10000 + in));
        const LinearWeight& w = random.weight;
        for (int64_t o = 0; o < w.panel_count() * kPanel; ++o) {
          for (int64_t k = 0; k < w.padded_in(); ++k) {
            const float want = o < out && k < in ? random.codes[static_cast<size_t>(o * in + k)] : 0;
            ASSERT_EQ(PackedCode(w, o, k), want) << "output " << o << " input " << k;
          }
        }
      }
    }
  }
}

TEST(LinearWeight, PackPanelReadsRowsAtTheirStride) {
  LinearWeight w{.out = 2, .in = 5, .format = WeightFormat::kInt8, .group = 8};
  const std::vector<int8_t> source{1,  2,  3,  4,  5,  99,
                                   99, -1, -2, -3, -4, -128};  // stride 7, nothing behind the end
  std::vector<std::byte> panel(static_cast<size_t>(w.values_bytes()));
  PackPanel<int8_t>(w, 0, source.data(), 7, 2, panel.data());
  w.panels = panel.data();
  for (int64_t k = 0; k < 5; ++k) {
    EXPECT_EQ(PackedCode(w, 0, k), static_cast<float>(source[static_cast<size_t>(k)]));
    EXPECT_EQ(PackedCode(w, 1, k), static_cast<float>(source[static_cast<size_t>(7 + k)]));
  }
  EXPECT_EQ(PackedCode(w, 0, 5), 0);
}

// The layout itself, by hand: 80 outputs are a strip of four panels and one of a single panel.
TEST(LinearWeight, PanelsLieInterleavedInStripsOfFour) {
  const RandomWeight bf16({WeightFormat::kBF16, InputFormat::kF32}, 80, 6, 1);
  const auto bf16_at = [&](int64_t byte) {
    uint16_t bits;
    std::memcpy(&bits, bf16.panels.data() + byte, 2);
    return ToFloat(hadal::bf16{bits});
  };
  // Output 37 is lane 5 of panel 2; input 4 begins unit 2.
  EXPECT_EQ(bf16_at((2 * 4 + 2) * 64 + 5 * 4), bf16.codes[37 * 6 + 4]);
  // Output 70 is lane 6 of the second strip's only panel.
  EXPECT_EQ(bf16_at(4 * 3 * 64 + 2 * 64 + 6 * 4 + 2), bf16.codes[70 * 6 + 5]);

  const RandomWeight int4({WeightFormat::kInt4, InputFormat::kF32, 16, true}, 80, 32, 1);
  const auto scale_at = [&](int64_t byte) {
    uint16_t bits;
    std::memcpy(&bits, int4.panels.data() + byte, 2);
    return ToFloat(hadal::bf16{bits});
  };
  // A group is two units of four panels, then four panels' scales: 640 bytes. Output 37, group 1.
  EXPECT_EQ(scale_at(640 + 512 + 37 * 2), int4.scales[37 * 2 + 1]);
  // The second strip: 128 bytes of codes and 32 of scales, padded to 64, a group.
  EXPECT_EQ(scale_at(1280 + 192 + 128 + 6 * 2), int4.scales[70 * 2 + 1]);
}

TEST(LinearWeight, ScalesBelongToTheirGroupAndOutput) {
  const RandomWeight f32({WeightFormat::kInt4, InputFormat::kF32, 32, false}, 20, 70, 1);
  ASSERT_EQ(f32.weight.scale_count(), 3);
  EXPECT_EQ(PackedScale(f32.weight, 0, 31), f32.scales[0]);
  EXPECT_EQ(PackedScale(f32.weight, 0, 32), f32.scales[1]);
  EXPECT_EQ(PackedScale(f32.weight, 17, 69), f32.scales[17 * 3 + 2]);
  const RandomWeight halved({WeightFormat::kInt8, InputFormat::kF32, 32, true}, 20, 70, 1);
  EXPECT_EQ(PackedScale(halved.weight, 17, 69), halved.scales[17 * 3 + 2]);
  EXPECT_EQ(PackedScale(halved.weight, 17, 69), RoundToBF16(f32.scales[17 * 3 + 2] / 16));
  const RandomWeight fp8({WeightFormat::kFp8, InputFormat::kF32}, 20, 300, 1);
  EXPECT_EQ(PackedScale(fp8.weight, 17, 256), fp8.scales[1 * 3 + 2]);
  const RandomWeight plain({WeightFormat::kBF16, InputFormat::kF32}, 20, 70, 1);
  EXPECT_EQ(PackedScale(plain.weight, 17, 69), 1);
}

TEST(LinearWeight, BytesCountPaddingAndScales) {
  const LinearWeight bf16{.out = 17, .in = 3, .format = WeightFormat::kBF16};
  EXPECT_EQ(bf16.bytes(), 2 * 4 * 16 * 2);  // 32 outputs, 4 inputs
  const LinearWeight fp8{.out = 32, .in = 130, .format = WeightFormat::kFp8};
  EXPECT_EQ(fp8.bytes(), 2 * (132 * 16 + 2 * 4));
  LinearWeight int4{.out = 16, .in = 33, .format = WeightFormat::kInt4, .group = 32};
  EXPECT_EQ(int4.bytes(), 64 * 8 + 2 * 16 * 4);
  int4.scales_bf16 = true;
  EXPECT_EQ(int4.bytes(), 64 * 8 + 2 * 64);  // one panel's 32 bytes of scales are padded
  int4.out = 32;
  EXPECT_EQ(int4.bytes(), 2 * 64 * 8 + 2 * 64);
}

TEST(QuantizeGroup, CodesAreWithinHalfAStep) {
  for (int bits : {4, 8}) {
    const int top = (1 << (bits - 1)) - 1;
    for (int64_t count : {1, 32, 127}) {
      const std::vector<float> x = RandomFloats(count, static_cast<uint64_t>(bits + count));
      std::vector<int8_t> codes(x.size());
      const float scale = QuantizeGroup(x.data(), count, bits, codes.data());
      EXPECT_EQ(scale, RoundToBF16(scale)) << "the scale must be a bf16 number";
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_GE(codes[i], -top - 1);
        ASSERT_LE(codes[i], top);
        // A scale rounded down (by up to 2^-9) leaves the largest value a little outside the codes.
        EXPECT_LE(std::fabs(codes[i] * scale - x[i]), 0.5001f * scale + std::fabs(x[i]) * 0x1p-8f)
            << bits << " " << i;
      }
    }
  }
}

TEST(QuantizeGroup, ZerosAndTies) {
  const float zeros[3] = {0, -0.0f, 0};
  int8_t codes[4] = {9, 9, 9, 9};
  EXPECT_EQ(QuantizeGroup(zeros, 3, 8, codes), 0);
  EXPECT_EQ(codes[0], 0);
  EXPECT_EQ(codes[2], 0);
  EXPECT_EQ(codes[3], 9) << "wrote beyond the group";
  const float ties[4] = {7, 2.5f, 3.5f, -2.5f};  // scale 1: halves go to the even neighbour
  EXPECT_EQ(QuantizeGroup(ties, 4, 4, codes), 1);
  EXPECT_EQ(codes[0], 7);
  EXPECT_EQ(codes[1], 2);
  EXPECT_EQ(codes[2], 4);
  EXPECT_EQ(codes[3], -2);
}

}  // namespace
}  // namespace hadal
