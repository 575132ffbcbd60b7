#include "model/tensor_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "model/compressed_tensors.h"
#include "model/random_normal.h"
#include "model/safetensors_test_util.h"
#include "tensor/dtype.h"

namespace hadal {
namespace {

TensorEncoder Make(std::vector<int64_t> shape, WeightFormat format, int64_t group = 32) {
  auto encoder = TensorEncoder::Create("x.weight", std::move(shape), format, group);
  EXPECT_TRUE(encoder) << encoder.error().message;
  return std::move(encoder).value();
}

struct Encoded {
  std::vector<std::byte> values, scales;
};

Encoded Encode(const TensorEncoder& encoder, const std::vector<float>& x) {
  Encoded out{std::vector<std::byte>(static_cast<size_t>(encoder.ValueBytes(encoder.rows()))),
              std::vector<std::byte>(static_cast<size_t>(encoder.ScaleBytes(encoder.rows())))};
  encoder.Encode(x.data(), encoder.rows(), out.values.data(), out.scales.data());
  return out;
}

template <typename T>
T At(const std::vector<std::byte>& bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  return value;
}

/// Random values with the awkward ones among them: zeros, ties, denormals, one outlier.
std::vector<float> Awkward(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  FillNormal(3, 4, 0, count, 0, 0.02f, x.data());
  for (size_t i = 0; i < x.size(); i += 17) x[i] = static_cast<float>(i % 7) * 0.5f * x[0];
  for (size_t i = 32; i < 64 && i < x.size(); ++i) x[i] = 0;
  for (size_t i = 64; i < 96 && i < x.size(); ++i) x[i] = i % 2 ? 1e-39f : -3e-38f;
  x.back() = -30000;
  return x;
}

TEST(TensorEncoder, PacksWhatQuantizeGroupGives) {
  for (const auto& [format, bits] : {std::pair(WeightFormat::kInt8, 8), std::pair(WeightFormat::kInt4, 4)}) {
    for (int64_t group : {32, 64, 128}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, group " << group);
      constexpr int64_t kRows = 5, kCols = 384;
      const std::vector<float> x = Awkward(kRows * kCols);
      const TensorEncoder encoder = Make({kRows, kCols}, format, group);
      const Encoded encoded = Encode(encoder, x);
      const auto row_bytes = static_cast<size_t>(encoder.ValueBytes(1));
      std::vector<int8_t> codes(kCols), wanted(kCols);
      for (size_t row = 0; row < kRows; ++row) {
        UnpackCodes(std::span(encoded.values).subspan(row * row_bytes, row_bytes), bits, codes);
        for (int64_t g = 0; g < kCols / group; ++g) {
          const float scale = QuantizeGroup(x.data() + static_cast<int64_t>(row) * kCols + g * group, group,
                                            bits, wanted.data() + g * group);
          EXPECT_EQ(ToFloat(At<bf16>(encoded.scales,
                                     row * static_cast<size_t>(kCols / group) + static_cast<size_t>(g))),
                    scale);
        }
        EXPECT_EQ(codes, wanted) << row;
      }
    }
  }
}

TEST(TensorEncoder, RoundsEveryFp8ValueAsToE4M3) {
  // One block whose largest value is 448, so that its scale is 1: all codes, the ties between them, and
  // values just beside.
  std::vector<float> x{448};
  for (int code = 0; code < 0x7e; ++code) {
    const float low = ToFloat(e4m3{static_cast<uint8_t>(code)}),
                high = ToFloat(e4m3{static_cast<uint8_t>(code + 1)});
    const float tie = (low + high) / 2;
    for (float value : {low, tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 1000.0f)})
      x.insert(x.end(), {value, -value});
  }
  x.resize(128 * 8);
  const Encoded encoded = Encode(Make({8, 128}, WeightFormat::kFp8), x);
  EXPECT_EQ(At<float>(encoded.scales, 0), 1);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(At<uint8_t>(encoded.values, i), ToE4M3(x[i]).bits) << x[i];
}

TEST(TensorEncoder, Fp8BlocksAtTheEdgesAndZeroBlocks) {
  constexpr int64_t kRows = 130, kCols = 200;
  std::vector<float> x = Awkward(kRows * kCols);
  for (int64_t c = 128; c < kCols; ++c)
    for (int64_t r = 0; r < 128; ++r) x[static_cast<size_t>(r * kCols + c)] = 0;
  const Encoded encoded = Encode(Make({kRows, kCols}, WeightFormat::kFp8), x);
  ASSERT_EQ(encoded.scales.size(), 4 * sizeof(float));
  EXPECT_EQ(At<float>(encoded.scales, 1), 1);
  EXPECT_EQ(At<float>(encoded.scales, 3), 30000.0f / 448);
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kCols; ++c) {
      const auto i = static_cast<size_t>(r * kCols + c);
      const float scale = At<float>(encoded.scales, static_cast<size_t>(r / 128 * 2 + c / 128));
      EXPECT_EQ(At<uint8_t>(encoded.values, i), ToE4M3(x[i] / scale).bits) << r << ", " << c;
    }
  }
}

TEST(TensorEncoder, BF16RoundsToNearestEven) {
  const std::vector<float> x = Awkward(100);
  const Encoded encoded = Encode(Make({100}, WeightFormat::kBF16), x);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(At<uint16_t>(encoded.values, i), ToBF16(x[i]).bits);
}

TEST(TensorEncoder, RefusesAGroupThatDoesNotDivide) {
  ExpectError(TensorEncoder::Create("x.weight", {4, 10944}, WeightFormat::kInt4, 128), Code::kInvalidArgument,
              "'x.weight' has rows of 10944 values, which groups of 128 do not divide (64 are left over)");
}

}  // namespace
}  // namespace hadal
