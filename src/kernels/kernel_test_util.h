// What the kernel tests share: reproducible numbers, random packed weights, prepared rows, guarded outputs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "base/rng.h"
#include "kernels/kernel_table.h"
#include "tensor/dtype.h"

namespace hadal::testing_kernels {

constexpr double kUnit = 0x1p-24;  // the rounding error of one f32 operation, relative to its result
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline uint32_t RandomBits(uint64_t seed, uint64_t index) { return PhiloxAt(seed, 0, index)[0]; }
/// Uniform in [-1, 1).
inline float RandomFloat(uint64_t seed, uint64_t index) {
  return static_cast<float>(static_cast<int32_t>(RandomBits(seed, index))) * 0x1p-31f;
}
inline std::vector<float> RandomFloats(int64_t count, uint64_t seed) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = RandomFloat(seed, i);
  return x;
}

inline std::vector<const KernelTable*> VectorTables() {
  std::vector<const KernelTable*> tables;
  for (Isa isa : AvailableIsas()) tables.push_back(&CpuKernels(isa));
  return tables;
}

/// `count` floats between two runs of a value no kernel writes; the floats start as NaN.
class GuardedFloats {
 public:
  explicit GuardedFloats(int64_t count) : count_(count), all_(static_cast<size_t>(count + 2 * kGuard), kNaN) {
    for (int64_t i = 0; i < kGuard; ++i) all_[i] = all_[static_cast<size_t>(kGuard + count + i)] = kSentinel;
  }
  float* data() { return all_.data() + kGuard; }
  const float* data() const { return all_.data() + kGuard; }
  float operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return count_; }
  bool GuardsIntact() const {
    for (int64_t i = 0; i < kGuard; ++i)
      if (data()[i - kGuard] != kSentinel || data()[count_ + i] != kSentinel) return false;
    return true;
  }
  bool SameBits(const GuardedFloats& other) const {
    return count_ == other.count_ && std::memcmp(data(), other.data(), static_cast<size_t>(count_) * 4) == 0;
  }

 private:
  static constexpr int64_t kGuard = 16;  // multiple of a vector: data() keeps the alignment of the whole
  static constexpr float kSentinel = -0x1.deadp100f;
  int64_t count_;
  std::vector<float> all_;
};

/// One way of keeping a weight and its inputs.
struct LinearCase {
  WeightFormat format;
  InputFormat input;
  int32_t group = 0;
  bool scales_bf16 = false;
};

inline std::string Name(const LinearCase& c) {
  static constexpr const char* kFormats[] = {"F32", "F16", "BF16", "FP8", "INT8", "INT4"};
  static constexpr const char* kInputs[] = {"F32", "BF16", "Int8", "E4M3", "E4M3Pow2"};
  std::string name =
      std::string(kFormats[static_cast<int>(c.format)]) + "x" + kInputs[static_cast<int>(c.input)];
  if (c.group > 0) name += "_g" + std::to_string(c.group) + (c.scales_bf16 ? "_bf16" : "_f32");
  return name;
}

/// A random weight: its codes as they were packed, the panels and the scales that the LinearWeight points
/// into. Values are about 1/8 .. 1 in size. The memory has no slack, so that AddressSanitizer sees a read
/// beyond it.
struct RandomWeight {
  LinearWeight weight;
  std::vector<float> codes;  // [out][in], as PackedCode returns them
  std::vector<std::byte> panels;
  std::vector<float> scales;  // as PackedScale returns them: [out][groups], FP8 [panels][blocks]

  RandomWeight(const LinearCase& c, int64_t out, int64_t in, uint64_t seed);
  RandomWeight(const RandomWeight&) = delete;
  PanelWeight panel() const { return ToPanelWeight(weight); }

 private:
  /// Draws codes with `draw(index)`, packs them, keeps value(code).
  template <typename Code, typename Draw, typename Value>
  void Fill(Draw draw, Value value);
  void FillCodes(uint64_t seed);
  void FillScales(const LinearCase& c, uint64_t seed);
};

template <typename Code, typename Draw, typename Value>
void RandomWeight::Fill(Draw draw, Value value) {
  const int64_t in = weight.in;
  std::vector<Code> source(static_cast<size_t>(weight.out * in));
  for (size_t i = 0; i < source.size(); ++i) {
    source[i] = draw(i);
    codes.push_back(value(source[i]));
  }
  panels.assign(static_cast<size_t>(weight.values_bytes()), std::byte{0xee});
  for (int64_t p = 0; p < weight.panel_count(); ++p) {
    const int64_t rows = std::min(kPanel, weight.out - p * kPanel);
    PackPanel<Code>(weight, p, source.data() + p * kPanel * in, in, rows, panels.data());
  }
  weight.panels = panels.data();
}

inline void RandomWeight::FillScales(const LinearCase& c, uint64_t seed) {
  const bool fp8 = c.format == WeightFormat::kFp8;
  const int64_t rows = fp8 ? weight.panel_count() : weight.out, count = weight.scale_count();
  const float size = fp8 ? 0x1p-8f : c.format == WeightFormat::kInt8 ? 0x1p-7f : 0x1p-3f;
  for (int64_t i = 0; i < rows * count; ++i) {
    const float scale = size * (1 + 0.5f * RandomFloat(seed, static_cast<uint64_t>(i)));
    scales.push_back(c.scales_bf16 ? RoundToBF16(scale) : scale);
    if (!fp8) PackScale(weight, i / count, i % count, scale, panels.data());
  }
  if (fp8) weight.scales = scales.data();
}

inline RandomWeight::RandomWeight(const LinearCase& c, int64_t out, int64_t in, uint64_t seed) {
  weight.out = out;
  weight.in = in;
  weight.format = c.format;
  weight.input = c.input;
  weight.group = c.group;
  weight.scales_bf16 = c.scales_bf16;
  FillCodes(seed);
  FillScales(c, seed + 1);
}

inline void RandomWeight::FillCodes(uint64_t seed) {
  const auto number = [seed](size_t i) { return RandomFloat(seed, i); };
  const auto integer = [seed](size_t i) { return RandomBits(seed, i); };
  switch (weight.format) {
    case WeightFormat::kF32:
      return Fill<float>(number, [](float x) { return x; });
    case WeightFormat::kF16:
      return Fill<uint16_t>([&](size_t i) { return ToF16(number(i)).bits; },
                            [](uint16_t x) { return ToFloat(f16{x}); });
    case WeightFormat::kBF16:
      return Fill<uint16_t>([&](size_t i) { return ToBF16(number(i)).bits; },
                            [](uint16_t x) { return ToFloat(bf16{x}); });
    case WeightFormat::kFp8:  // every code but NaN
      return Fill<uint8_t>(
          [&](size_t i) { return static_cast<uint8_t>(integer(i) % 127 | (integer(i) >> 31) << 7); },
          [](uint8_t x) { return ToFloat(e4m3{x}); });
    case WeightFormat::kInt8:
      return Fill<int8_t>([&](size_t i) { return static_cast<int8_t>(integer(i) & 255); },
                          [](int8_t x) { return x; });
    case WeightFormat::kInt4:
      return Fill<int8_t>([&](size_t i) { return static_cast<int8_t>(integer(i) % 16 - 8); },
                          [](int8_t x) { return x; });
  }
}

/// Rows [m][in] prepared by `table` for w, each in memory of exactly PreparedRowBytes, poisoned before.
struct PreparedRows {
  std::vector<std::vector<std::byte>> memory;
  std::vector<const void*> rows;

  PreparedRows(const KernelTable& table, const PanelWeight& w, const float* x, int64_t m) {
    for (int64_t r = 0; r < m; ++r) {
      memory.emplace_back(static_cast<size_t>(PreparedRowBytes(w, table.bf16_pairs)), std::byte{0xff});
      table.prepare(w, x + r * w.in, memory.back().data());
    }
    for (const auto& row : memory) rows.push_back(row.data());
  }
};

}  // namespace hadal::testing_kernels
