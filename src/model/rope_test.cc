#include "model/rope.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <bit>
#include <cmath>
#include <cstring>

namespace hadal {
namespace {

int64_t UlpsApart(float a, float b) {
  return std::abs(int64_t{std::bit_cast<int32_t>(a)} - int64_t{std::bit_cast<int32_t>(b)});
}

std::vector<float> Floats(simdjson::dom::array values) {
  std::vector<float> result;
  for (simdjson::dom::element value : values) result.push_back(static_cast<float>(double(value)));
  return result;
}

/// The five configurations of rope_real_configs.json.
class RopeGolden : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(parser_.load(HADAL_TEST_DATA "/golden/units/rope_real_configs.json").get(root_),
              simdjson::SUCCESS);
  }
  static ModelConfig Config(simdjson::dom::element unit) {
    ModelConfig config;
    config.qk_nope_head_dim = int64_t(unit["qk_nope_head_dim"]);
    config.qk_rope_head_dim = int64_t(unit["qk_rope_head_dim"]);
    config.rope.theta = double(unit["rope_theta"]);
    simdjson::dom::element scaling = unit["rope_scaling"];
    if (scaling.is_null()) return config;
    config.rope.yarn = true;
    config.rope.factor = double(scaling["factor"]);
    config.rope.beta_fast = double(scaling["beta_fast"]);
    config.rope.beta_slow = double(scaling["beta_slow"]);
    config.rope.mscale = double(scaling["mscale"]);
    config.rope.mscale_all_dim = double(scaling["mscale_all_dim"]);
    config.rope.original_max_position_embeddings = int64_t(scaling["original_max_position_embeddings"]);
    return config;
  }
  simdjson::dom::parser parser_;
  simdjson::dom::object root_;
};

TEST_F(RopeGolden, FrequenciesAreTheReferenceBits) {
  size_t units = 0;
  for (auto [name, unit] : root_) {
    SCOPED_TRACE(std::string(name));
    const ModelConfig config = Config(unit);
    const std::vector<float> want = Floats(unit["inv_freq"]);
    const std::vector<float> got = InverseFrequencies(config.rope, config.qk_rope_head_dim);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      // 50000^(10/64) lies 0.47 units from one float and 0.53 from the next; the reference took the farther
      // one.
      const bool reference_errs = config.rope.theta == 50000 && i == 5;
      EXPECT_LE(UlpsApart(got[i], want[i]), reference_errs ? 1 : 0)
          << "i = " << i << ": " << got[i] << ", " << want[i];
    }
    ++units;
  }
  EXPECT_EQ(units, 5u);
}

TEST_F(RopeGolden, AnglesAreFp32Products) {
  for (auto [name, unit] : root_) {
    SCOPED_TRACE(std::string(name));
    const std::vector<float> inverse = Floats(unit["inv_freq"]);
    simdjson::dom::array positions = unit["positions"], rows = unit["angle_fp32"];
    auto row = rows.begin();
    for (simdjson::dom::element position : positions) {
      const std::vector<float> want = Floats(*row);
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT_EQ(static_cast<float>(int64_t(position)) * inverse[i], want[i])
            << int64_t(position) << ", " << i;
      ++row;
    }
  }
}

TEST_F(RopeGolden, ScalesAreThoseOfTheReference) {
  for (auto [name, unit] : root_) {
    SCOPED_TRACE(std::string(name));
    const ModelConfig config = Config(unit);
    EXPECT_DOUBLE_EQ(config.SoftmaxScale(), double(unit["softmax_scale"]));
    EXPECT_DOUBLE_EQ(CosSinScale(config.rope), double(unit["cos_sin_scale"]));
  }
}

/// Header and data of a golden.safetensors, for its metadata and rope.inv_freq alone.
struct GoldenFile {
  explicit GoldenFile(const std::string& folder) {
    text = ReadFile(Path(HADAL_TEST_DATA "/golden") / folder / "golden.safetensors").value();
    uint64_t length = 0;
    std::memcpy(&length, text.data(), 8);
    header = parser.parse(text.data() + 8, length);
    base = 8 + length;
  }
  double Metadata(std::string_view key) {
    return std::stod(std::string(std::string_view(header["__metadata__"][key])));
  }
  std::vector<float> Tensor(std::string_view name) {
    simdjson::dom::array offsets = header[name]["data_offsets"];
    const uint64_t begin = offsets.at(0), end = offsets.at(1);
    std::vector<float> values((end - begin) / sizeof(float));
    std::memcpy(values.data(), text.data() + base + begin, end - begin);
    return values;
  }
  std::string text;
  simdjson::dom::parser parser;
  simdjson::dom::element header;
  uint64_t base = 0;
};

TEST(Rope, AgreesWithEveryGoldenFolder) {
  for (const char* folder :
       {"v3-tiny-f32", "v3-tiny-bf16", "v3-tiny-fp8", "v3-tiny-mtp", "moonlight-tiny", "v2lite-tiny"}) {
    SCOPED_TRACE(folder);
    const auto config = LoadConfig(Path(HADAL_TEST_DATA "/golden") / folder);
    ASSERT_TRUE(config) << config.error().message;
    GoldenFile golden(folder);
    EXPECT_DOUBLE_EQ(config->SoftmaxScale(), golden.Metadata("softmax_scale"));
    EXPECT_DOUBLE_EQ(CosSinScale(config->rope), golden.Metadata("rope_cos_sin_scale"));
    EXPECT_EQ(InverseFrequencies(config->rope, config->qk_rope_head_dim), golden.Tensor("rope.inv_freq"));
  }
}

TEST(Rope, TableHoldsScaledCosinesAndSines) {
  RopeConfig rope;
  rope.yarn = true;
  rope.factor = 40;
  rope.mscale_all_dim = 0.707;
  const RopeAngles table(rope, 8, 70);
  const std::vector<float> inverse = InverseFrequencies(rope, 8);
  ASSERT_EQ(table.half, 4);
  ASSERT_EQ(table.cos.size(), 280u);
  const float scale = static_cast<float>(CosSinScale(rope));
  EXPECT_NEAR(scale, 1.0857263992561355, 1e-6);
  for (int64_t position : {0, 1, 69}) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = static_cast<float>(position) * inverse[i];
      EXPECT_NEAR(table.cos_row(position)[i], std::cos(angle) * scale, 2e-7);
      EXPECT_NEAR(table.sin_row(position)[i], std::sin(angle) * scale, 2e-7);
    }
  }
}

}  // namespace
}  // namespace hadal
