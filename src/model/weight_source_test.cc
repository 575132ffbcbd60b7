#include "model/weight_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "model/compressed_tensors.h"
#include "model/safetensors_test_util.h"
#include "model/weight_reader.h"
#include "model/weight_test_util.h"

namespace hadal {
namespace {

constexpr int64_t kOut = 40, kIn = 150;

std::vector<uint8_t> RandomBytes(int64_t count, uint64_t seed) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(PhiloxAt(seed, 0, i)[0]);
  return bytes;
}

/// Random F8_E4M3 codes, no NaN among them.
std::vector<uint8_t> RandomFp8(int64_t count, uint64_t seed) {
  std::vector<uint8_t> codes = RandomBytes(count, seed);
  for (uint8_t& code : codes)
    if ((code & 0x7f) == 0x7f) code ^= 1;
  return codes;
}

/// Numbers in [0.5, 1.5), of dtype F32, BF16, F16, or powers of two for F8_E8M0.
HandTensor RandomScales(const std::string& name, DType dtype, std::vector<int64_t> shape, uint64_t seed) {
  std::vector<float> floats(static_cast<size_t>(shape[0] * shape[1]));
  for (size_t i = 0; i < floats.size(); ++i)
    floats[i] = 0.5f + static_cast<float>(PhiloxAt(seed, 1, i)[0]) * 0x1p-32f;
  if (dtype == DType::kF32) return MakeTensor(name, dtype, std::move(shape), floats);
  if (dtype == DType::kF8E8M0) {
    std::vector<uint8_t> codes(floats.size());
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(120 + i % 9);
    return MakeTensor(name, dtype, std::move(shape), codes);
  }
  std::vector<uint16_t> halves(floats.size());
  for (size_t i = 0; i < halves.size(); ++i)
    halves[i] = dtype == DType::kBF16 ? ToBF16(floats[i]).bits : ToF16(floats[i]).bits;
  return MakeTensor(name, dtype, std::move(shape), halves);
}

QuantizationConfig Fp8(int64_t rows, int64_t cols) {
  QuantizationConfig config;
  config.method = QuantizationConfig::Method::kFp8;
  config.block_rows = rows;
  config.block_cols = cols;
  return config;
}

QuantizationConfig Packed(int bits) {
  QuantizationConfig config;
  config.method = QuantizationConfig::Method::kCompressedTensors;
  config.bits = bits;
  config.group_size = 32;
  return config;
}

std::vector<HandTensor> Fp8Tensors(DType scale, int64_t rows, int64_t cols) {
  return {MakeTensor("x.weight", DType::kF8E4M3, {kOut, kIn}, RandomFp8(kOut * kIn, 3)),
          RandomScales("x.weight_scale_inv", scale, {(kOut + rows - 1) / rows, (kIn + cols - 1) / cols}, 4)};
}

std::vector<HandTensor> PackedTensors(int bits, DType scale = DType::kBF16) {
  const int64_t words = PackedWords(kIn, bits);
  return {MakeTensor("x.weight_packed", DType::kI32, {kOut, words}, RandomBytes(kOut * words * 4, 5)),
          RandomScales("x.weight_scale", scale, {kOut, (kIn + 31) / 32}, 6),
          MakeTensor("x.weight_shape", DType::kI64, {2}, std::vector<int64_t>{kOut, kIn})};
}

class WeightSource : public TempFolderTest {
 protected:
  std::unique_ptr<Checkpoint> Open(const std::vector<HandTensor>& tensors) {
    return WriteAndOpen(folder_ / fmt::format("{}.safetensors", ++files_), tensors);
  }

  /// That every run of rows decodes to what the bytes say.
  void ExpectDecodes(const std::vector<HandTensor>& tensors, const QuantizationConfig& config) {
    const auto checkpoint = Open(tensors);
    const auto source = FindLinear(*checkpoint, config, "x", kOut, kIn);
    ASSERT_TRUE(source) << source.error().message;
    WeightReader reader(*checkpoint);
    for (const auto& [first, count] :
         {std::pair<int64_t, int64_t>{0, kOut}, {0, 1}, {7, 18}, {33, 7}, {39, 1}}) {
      std::vector<float> rows(static_cast<size_t>(count * kIn), -1e9f);
      const Status status = reader.Decode(*source, first, count, rows.data());
      ASSERT_TRUE(status) << status.error().message;
      for (int64_t i = 0; i < count * kIn; ++i) {
        const double want = StoredWeight(*checkpoint, config, "x", kIn, first + i / kIn, i % kIn);
        ASSERT_EQ(rows[static_cast<size_t>(i)], static_cast<float>(want))
            << first << "+" << count << " element " << i;
      }
    }
  }

  void ExpectRefused(const std::vector<HandTensor>& tensors, const QuantizationConfig& config, Code code,
                     std::string_view part) {
    ExpectError(FindLinear(*Open(tensors), config, "x", kOut, kIn), code, part);
  }

  /// Found, but reading row 21 fails, and row 20 does not.
  void ExpectDamaged(const std::vector<HandTensor>& tensors, const QuantizationConfig& config,
                     std::string_view part) {
    const auto checkpoint = Open(tensors);
    const auto source = FindLinear(*checkpoint, config, "x", kOut, kIn);
    ASSERT_TRUE(source) << source.error().message;
    WeightReader reader(*checkpoint);
    std::vector<float> rows(static_cast<size_t>(kOut * kIn));
    EXPECT_TRUE(reader.Decode(*source, 20, 1, rows.data()));
    ExpectError(reader.Decode(*source, 21, 1, rows.data()), Code::kDataLoss, part);
    ExpectError(reader.Decode(*source, 0, kOut, rows.data()), Code::kDataLoss, part);
  }

  int files_ = 0;
};

TEST_F(WeightSource, DecodesPlainFormats) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    SCOPED_TRACE(DTypeName(dtype));
    ExpectDecodes({RandomScales("x.weight", dtype, {kOut, kIn}, 2)}, {});
  }
}

TEST_F(WeightSource, DecodesFp8WithEveryScaleAndBlock) {
  for (DType scale : {DType::kF32, DType::kBF16, DType::kF8E8M0})
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{128, 128}, {16, 128}, {3, 7}, {1, 64}}) {
      SCOPED_TRACE(testing::Message() << DTypeName(scale) << " " << rows << " x " << cols);
      ExpectDecodes(Fp8Tensors(scale, rows, cols), Fp8(rows, cols));
    }
}

TEST_F(WeightSource, DecodesPackedWithEveryScale) {
  for (int bits : {4, 8})
    for (DType scale : {DType::kF32, DType::kBF16, DType::kF16}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << DTypeName(scale));
      ExpectDecodes(PackedTensors(bits, scale), Packed(bits));
    }
}

TEST_F(WeightSource, CountsEveryByteOnce) {
  for (int64_t rows : {1, 3, 16, 128}) {
    const auto checkpoint = Open(Fp8Tensors(DType::kF32, rows, 128));
    const auto source = FindLinear(*checkpoint, Fp8(rows, 128), "x", kOut, kIn).value();
    int64_t bytes = 0;
    for (int64_t first = 0; first < kOut; first += 7)
      bytes += source.BytesOfRows(first, std::min<int64_t>(7, kOut - first));
    EXPECT_EQ(static_cast<uint64_t>(bytes), checkpoint->TotalBytes());
  }
}

TEST_F(WeightSource, RefusesWhatIsMissing) {
  ExpectRefused({RandomScales("y.weight", DType::kF32, {1, 1}, 1)}, {}, Code::kNotFound,
                "no tensor 'x.weight'");
  auto fp8 = Fp8Tensors(DType::kF32, 128, 128);
  Remove(fp8, "x.weight_scale_inv");
  ExpectRefused(fp8, Fp8(128, 128), Code::kNotFound, "'x.weight_scale_inv'");
  for (const char* part : {"x.weight_scale", "x.weight_shape"}) {
    auto packed = PackedTensors(4);
    Remove(packed, part);
    ExpectRefused(packed, Packed(4), Code::kNotFound, part);
  }
}

TEST_F(WeightSource, RefusesAnotherShape) {
  ExpectRefused({RandomScales("x.weight", DType::kF32, {kIn, kOut}, 1)}, {}, Code::kDataLoss,
                "'x.weight' is [150, 40], config.json needs [40, 150]");
  ExpectRefused(Fp8Tensors(DType::kF32, 128, 64), Fp8(128, 128), Code::kDataLoss,
                "'x.weight_scale_inv' is [1, 3], config.json needs [1, 2]");
  ExpectRefused(PackedTensors(8), Packed(4), Code::kDataLoss, "'x.weight_packed' is [40, 38]");
  auto packed = PackedTensors(4);
  Named(packed, "x.weight_scale") = RandomScales("x.weight_scale", DType::kBF16, {kOut, 1}, 1);
  ExpectRefused(packed, Packed(4), Code::kDataLoss, "'x.weight_scale' is [40, 1], config.json needs [40, 5]");
}

TEST_F(WeightSource, RefusesAnotherDType) {
  ExpectRefused({MakeTensor("x.weight", DType::kI8, {kOut, kIn}, RandomBytes(kOut * kIn, 1))}, {},
                Code::kDataLoss, "'x.weight' is I8; one of F32, F16, BF16, F8_E4M3 is needed");
  ExpectRefused(Fp8Tensors(DType::kF16, 128, 128), Fp8(128, 128), Code::kDataLoss,
                "'x.weight_scale_inv' is F16");
  ExpectRefused(Fp8Tensors(DType::kF32, 128, 128), {}, Code::kDataLoss,
                "no quantization_config of method fp8");
  ExpectRefused(PackedTensors(4), {}, Code::kDataLoss, "compressed-tensors");
}

TEST_F(WeightSource, RefusesPartsOfAnotherFormat) {
  auto packed = PackedTensors(4);
  packed.push_back(RandomScales("x.weight", DType::kF32, {kOut, kIn}, 1));
  ExpectRefused(packed, Packed(4), Code::kDataLoss, "'x.weight' is there beside 'x.weight_packed'");
  packed.back() = RandomScales("x.weight_zero_point", DType::kF32, {kOut, 1}, 1);
  ExpectRefused(packed, Packed(4), Code::kUnsupported, "weight_zero_point");
  auto plain = std::vector{RandomScales("x.weight", DType::kF32, {kOut, kIn}, 1),
                           RandomScales("x.weight_scale_inv", DType::kF32, {1, 2}, 1)};
  ExpectRefused(plain, Fp8(128, 128), Code::kDataLoss,
                "'x.weight_scale_inv' is there beside 'x.weight' (F32)");
}

TEST_F(WeightSource, RefusesDamagedValuesByRow) {
  const auto at = [](HandTensor& tensor, int64_t index, auto value) {
    std::memcpy(tensor.bytes.data() + index * static_cast<int64_t>(sizeof value), &value, sizeof value);
  };
  for (uint8_t nan : {0x7f, 0xff}) {
    auto fp8 = Fp8Tensors(DType::kF32, 1, 128);
    at(fp8[0], 21 * kIn + 149, nan);
    ExpectDamaged(fp8, Fp8(1, 128), "'x.weight' (F8_E4M3) holds NaN or infinity in row 21, column 149");
  }
  for (float bad : {std::nanf(""), INFINITY, -INFINITY, 1e38f}) {
    auto fp8 = Fp8Tensors(DType::kF32, 1, 128);
    at(fp8[1], 21 * 2 + 1, bad);
    ExpectDamaged(fp8, Fp8(1, 128), "'x.weight_scale_inv' (F32) holds the scale");
  }
  auto ue8m0 = Fp8Tensors(DType::kF8E8M0, 1, 128);
  at(ue8m0[1], 21 * 2, uint8_t{255});
  ExpectDamaged(ue8m0, Fp8(1, 128), "in row 21, column 0");
  auto packed = PackedTensors(4);
  at(packed[1], 21 * 5 + 4, uint16_t{0x7fc0});
  ExpectDamaged(packed, Packed(4), "'x.weight_scale' (BF16) holds the scale nan in row 21, column 4");

  for (const auto& [dtype, bad] : {std::pair{DType::kBF16, uint16_t{0x7f80}},
                                   {DType::kBF16, uint16_t{0xffc0}},
                                   {DType::kF16, uint16_t{0x7c00}}}) {
    std::vector plain = {RandomScales("x.weight", dtype, {kOut, kIn}, 1)};
    at(plain[0], 21 * kIn, bad);
    ExpectDamaged(plain, {}, "holds NaN or infinity in row 21, column 0");
  }
  std::vector plain = {RandomScales("x.weight", DType::kF32, {kOut, kIn}, 1)};
  at(plain[0], 21 * kIn + 3, -INFINITY);
  ExpectDamaged(plain, {}, "holds NaN or infinity in row 21, column 3");
}

TEST_F(WeightSource, ChecksThePackedShape) {
  for (bool wide : {false, true}) {
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{kOut, kIn}, {kOut, kIn - 1}, {kIn, kOut}}) {
      auto tensors = PackedTensors(4);
      if (wide)
        tensors[2] = MakeTensor("x.weight_shape", DType::kI64, {2}, std::vector<int64_t>{out, in});
      else
        tensors[2] = MakeTensor("x.weight_shape", DType::kI32, {2},
                                std::vector{static_cast<int32_t>(out), static_cast<int32_t>(in)});
      const auto checkpoint = Open(tensors);
      const auto source = FindLinear(*checkpoint, Packed(4), "x", kOut, kIn);
      ASSERT_TRUE(source) << source.error().message;
      const Status status = WeightReader(*checkpoint).CheckPackedShape(*source);
      if (out == kOut && in == kIn) {
        EXPECT_TRUE(status);
      } else {
        ExpectError(status, Code::kDataLoss,
                    fmt::format("says that the weight is [{}, {}], config.json needs [40, 150]", out, in));
      }
    }
  }
}

}  // namespace
}  // namespace hadal
