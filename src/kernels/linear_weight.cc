#include "kernels/linear_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "base/rounding.h"

namespace hadal {
namespace {

/// What a strip's addresses follow from.
struct StripShape {
  int64_t panels;       // interleaved
  int64_t unit;         // bytes
  int64_t unit_inputs;
  int64_t group_units;  // units between two runs of scales
  int64_t scales;       // bytes of one run, padded

  /// Where unit u of the strip's panel p begins.
  int64_t Unit(int64_t u, int64_t p) const { return (u * panels + p) * unit + u / group_units * scales; }
  /// Where the scales of group g begin.
  int64_t Scales(int64_t g) const { return (g + 1) * group_units * panels * unit + g * scales; }
};

bool IsInteger(WeightFormat format) { return format == WeightFormat::kInt8 || format == WeightFormat::kInt4; }

int64_t UnitInputs(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
    case WeightFormat::kF16: return 1;
    case WeightFormat::kBF16: return 2;
    case WeightFormat::kFp8:
    case WeightFormat::kInt8: return 4;
    case WeightFormat::kInt4: return 8;
  }
  return 1;
}

StripShape ShapeOf(const LinearWeight& w, int64_t panels) {
  const int64_t inputs = UnitInputs(w.format);
  StripShape shape{panels, w.format == WeightFormat::kF16 ? 32 : 64, inputs, w.padded_in() / inputs, 0};
  if (IsInteger(w.format)) {
    shape.group_units = w.group / inputs;
    shape.scales = RoundUp(panels * kPanel * (w.scales_bf16 ? 2 : 4), 64);
  }
  return shape;
}

/// The strip of a panel: its shape, and where it begins.
struct Strip {
  StripShape shape;
  int64_t begin;
};

Strip StripOf(const LinearWeight& w, int64_t panel) {
  const int64_t first = panel / kStrip * kStrip;
  return {ShapeOf(w, std::min(kStrip, w.panel_count() - first)), first / kStrip * w.strip_bytes(kStrip)};
}

/// Where an output's scale of a group lies.
int64_t ScalePlace(const LinearWeight& w, int64_t output, int64_t group) {
  const Strip strip = StripOf(w, output / kPanel);
  return strip.begin + strip.shape.Scales(group) + output % (kStrip * kPanel) * (w.scales_bf16 ? 2 : 4);
}

/// Where (lane, k) lies in its unit: the byte, and for INT4 whether it is the high nibble. This is the units'
/// definition; PackPanel writes the same places a unit at a time.
struct Place {
  int64_t byte;
  bool high = false;
};

Place PlaceInUnit(WeightFormat format, int64_t lane, int64_t k) {
  switch (format) {
    case WeightFormat::kF32: return {lane * 4};
    case WeightFormat::kF16: return {lane * 2};
    case WeightFormat::kBF16: return {lane * 4 + k % 2 * 2};
    case WeightFormat::kFp8: return {(lane / 4) * 16 + (k / 2 % 2) * 8 + (lane % 4) * 2 + k % 2};
    case WeightFormat::kInt8: return {lane * 4 + k % 4};
    case WeightFormat::kInt4: return {lane * 4 + k % 4, k % 8 >= 4};
  }
  return {0};
}

// The 64-byte units (F16: 32) of each format: kInputs inputs of 16 outputs. Put writes one output's. Codes that a
// unit holds as one little-endian word are moved as one.
struct F32Unit {
  static constexpr int64_t kInputs = 1, kBytes = 64;
  static void Put(const float* x, int64_t lane, std::byte* unit) { std::memcpy(unit + lane * 4, x, 4); }
};
struct F16Unit {
  static constexpr int64_t kInputs = 1, kBytes = 32;
  static void Put(const uint16_t* x, int64_t lane, std::byte* unit) { std::memcpy(unit + lane * 2, x, 2); }
};
struct BF16Unit {
  static constexpr int64_t kInputs = 2, kBytes = 64;
  static void Put(const uint16_t* x, int64_t lane, std::byte* unit) { std::memcpy(unit + lane * 4, x, 4); }
};
struct Fp8Unit {
  static constexpr int64_t kInputs = 4, kBytes = 64;
  static void Put(const uint8_t* x, int64_t lane, std::byte* unit) {
    std::byte* pair = unit + lane / 4 * 16 + lane % 4 * 2;
    std::memcpy(pair, x, 2);
    std::memcpy(pair + 8, x + 2, 2);
  }
};
struct Int8Unit {
  static constexpr int64_t kInputs = 4, kBytes = 64;
  static void Put(const int8_t* x, int64_t lane, std::byte* unit) {
    uint32_t codes;
    std::memcpy(&codes, x, 4);
    codes ^= 0x80808080u;  // + 128 each
    std::memcpy(unit + lane * 4, &codes, 4);
  }
};
struct Int4Unit {
  static constexpr int64_t kInputs = 8, kBytes = 64;
  static void Put(const int8_t* x, int64_t lane, std::byte* unit) {
    uint64_t codes;
    std::memcpy(&codes, x, 8);
    codes = (codes & 0x0f0f0f0f0f0f0f0fu) ^ 0x0808080808080808u;  // + 8 each, of the nibbles
    const auto word = static_cast<uint32_t>(codes | codes >> 28);  // inputs 4..7 over 0..3
    std::memcpy(unit + lane * 4, &word, 4);
  }
};

/// The row-major source of a panel.
template <typename Code>
struct PanelRows {
  const Code* data;
  int64_t stride;
  int64_t count;  // 1..16
};

/// Fills a panel. Units are taken in chunks, so that each source row is read in runs of cache lines while the
/// chunk's units stay in the first-level cache.
template <class Unit, typename Code>
void PackUnits(const LinearWeight& w, int64_t panel, const PanelRows<Code>& rows, std::byte* values) {
  constexpr int64_t kChunk = 128;
  const Strip strip = StripOf(w, panel);
  const auto unit = [&](int64_t u) { return values + strip.begin + strip.shape.Unit(u, panel % kStrip); };
  const int64_t whole = w.in / Unit::kInputs, rest = w.in % Unit::kInputs;
  const int64_t step = strip.shape.panels * Unit::kBytes;
  for (int64_t begin = 0, end = 0; begin < whole; begin = end) {
    // A run lies within a group: its units are `step` apart.
    const int64_t group_end = (begin / strip.shape.group_units + 1) * strip.shape.group_units;
    end = std::min({begin + kChunk, whole, group_end});
    for (int64_t lane = 0; lane < rows.count; ++lane) {
      const Code* row = rows.data + lane * rows.stride + begin * Unit::kInputs;
      std::byte* to = unit(begin);
      for (int64_t u = begin; u < end; ++u, row += Unit::kInputs, to += step) Unit::Put(row, lane, to);
    }
  }
  // Padding is made of zero codes: a last unit that is partly there, whole units, whole outputs.
  const Code zeros[Unit::kInputs] = {};
  const int64_t units = w.panel_bytes() / Unit::kBytes;
  for (int64_t lane = 0; lane < kPanel; ++lane) {
    int64_t u = lane < rows.count ? whole : 0;
    if (lane < rows.count && rest > 0) {
      Code last[Unit::kInputs] = {};
      std::copy_n(rows.data + lane * rows.stride + whole * Unit::kInputs, rest, last);
      Unit::Put(last, lane, unit(u++));
    }
    for (; u < units; ++u) Unit::Put(zeros, lane, unit(u));
  }
}

}  // namespace

int64_t LinearWeight::scale_count() const {
  if (format == WeightFormat::kFp8) return (in + kFp8Block - 1) / kFp8Block;
  if (IsInteger(format)) return (in + group - 1) / group;
  return 0;
}

int64_t LinearWeight::padded_in() const {
  switch (format) {
    case WeightFormat::kF32:
    case WeightFormat::kF16: return in;
    case WeightFormat::kBF16: return RoundUp(in, 2);
    case WeightFormat::kFp8: return RoundUp(in, 4);
    case WeightFormat::kInt8:
    case WeightFormat::kInt4: return RoundUp(in, group);
  }
  return in;
}

int64_t LinearWeight::panel_bytes() const {
  switch (format) {
    case WeightFormat::kF32: return padded_in() * kPanel * 4;
    case WeightFormat::kF16:
    case WeightFormat::kBF16: return padded_in() * kPanel * 2;
    case WeightFormat::kFp8:
    case WeightFormat::kInt8: return padded_in() * kPanel;
    case WeightFormat::kInt4: return padded_in() * kPanel / 2;
  }
  return 0;
}

int64_t LinearWeight::strip_bytes(int64_t count) const {
  const int64_t groups = IsInteger(format) ? scale_count() : 0;
  return count * panel_bytes() + groups * ShapeOf(*this, count).scales;
}

int64_t LinearWeight::values_bytes() const {
  const int64_t rest = panel_count() % kStrip;
  return panel_count() / kStrip * strip_bytes(kStrip) + (rest > 0 ? strip_bytes(rest) : 0);
}

int64_t LinearWeight::scales_bytes() const {
  return format == WeightFormat::kFp8 ? panel_count() * scale_count() * 4 : 0;
}

template <typename Code>
void PackPanel(const LinearWeight& w, int64_t panel, const Code* rows, int64_t row_stride, int64_t row_count,
               std::byte* values) {
  using enum WeightFormat;
  const PanelRows<Code> source{rows, row_stride, row_count};
  const auto pack = [&](auto unit) { PackUnits<decltype(unit)>(w, panel, source, values); };
  if constexpr (std::is_same_v<Code, float>) {
    HADAL_CHECK(w.format == kF32, "format {}", static_cast<int>(w.format));
    pack(F32Unit());
  } else if constexpr (std::is_same_v<Code, uint16_t>) {
    HADAL_CHECK(w.format == kF16 || w.format == kBF16, "format {}", static_cast<int>(w.format));
    w.format == kF16 ? pack(F16Unit()) : pack(BF16Unit());
  } else if constexpr (std::is_same_v<Code, uint8_t>) {
    HADAL_CHECK(w.format == kFp8, "format {}", static_cast<int>(w.format));
    pack(Fp8Unit());
  } else {
    HADAL_CHECK(IsInteger(w.format), "format {}", static_cast<int>(w.format));
    w.format == kInt8 ? pack(Int8Unit()) : pack(Int4Unit());
  }
}

template void PackPanel<float>(const LinearWeight&, int64_t, const float*, int64_t, int64_t, std::byte*);
template void PackPanel<uint16_t>(const LinearWeight&, int64_t, const uint16_t*, int64_t, int64_t, std::byte*);
template void PackPanel<uint8_t>(const LinearWeight&, int64_t, const uint8_t*, int64_t, int64_t, std::byte*);
template void PackPanel<int8_t>(const LinearWeight&, int64_t, const int8_t*, int64_t, int64_t, std::byte*);

void PackScale(const LinearWeight& w, int64_t output, int64_t group, float scale, std::byte* values) {
  HADAL_CHECK(IsInteger(w.format), "format {}", static_cast<int>(w.format));
  std::byte* place = values + ScalePlace(w, output, group);
  if (w.scales_bf16) {
    const uint16_t bits = ToBF16(scale).bits;
    std::memcpy(place, &bits, 2);
  } else {
    std::memcpy(place, &scale, 4);
  }
}

float PackedCode(const LinearWeight& w, int64_t output, int64_t k) {
  const Place place = PlaceInUnit(w.format, output % kPanel, k);
  const Strip strip = StripOf(w, output / kPanel);
  const int64_t unit = strip.shape.Unit(k / strip.shape.unit_inputs, output / kPanel % kStrip);
  const std::byte* source = w.panels + strip.begin + unit + place.byte;
  uint16_t half = 0;
  float value = 0;
  switch (w.format) {
    case WeightFormat::kF32: std::memcpy(&value, source, 4); return value;
    case WeightFormat::kF16: std::memcpy(&half, source, 2); return ToFloat(f16{half});
    case WeightFormat::kBF16: std::memcpy(&half, source, 2); return ToFloat(bf16{half});
    case WeightFormat::kFp8: return ToFloat(e4m3{static_cast<uint8_t>(*source)});
    case WeightFormat::kInt8: return static_cast<float>(static_cast<int>(*source) - 128);
    case WeightFormat::kInt4: {
      const int byte = static_cast<int>(*source);
      return static_cast<float>((place.high ? byte >> 4 : byte & 15) - 8);
    }
  }
  return 0;
}

float PackedScale(const LinearWeight& w, int64_t output, int64_t k) {
  if (w.format == WeightFormat::kFp8)
    return static_cast<const float*>(w.scales)[output / kPanel * w.scale_count() + k / kFp8Block];
  if (!IsInteger(w.format)) return 1;
  const std::byte* place = w.panels + ScalePlace(w, output, k / w.group);
  uint16_t half = 0;
  float scale = 0;
  std::memcpy(&half, place, 2);
  if (w.scales_bf16) return ToFloat(bf16{half});
  std::memcpy(&scale, place, 4);
  return scale;
}

float QuantizeGroup(const float* x, int64_t count, int bits, int8_t* codes) {
  HADAL_CHECK(bits == 8 || bits == 4, "{} bits", bits);
  const float top = static_cast<float>((1 << (bits - 1)) - 1);
  float amax = 0;
  for (int64_t i = 0; i < count; ++i) amax = std::max(amax, std::fabs(x[i]));
  const float scale = RoundToBF16(amax / top);
  if (!(scale > 0)) {
    std::memset(codes, 0, static_cast<size_t>(count));
    return scale;
  }
  for (int64_t i = 0; i < count; ++i) {
    // Clamped, a quotient is small enough to be rounded to nearest even by adding and taking away 1.5 * 2^23: a loop
    // without calls, which the compiler turns into vectors.
    const float clamped = std::min(std::max(x[i] / scale, -top - 1), top);
    codes[i] = static_cast<int8_t>(static_cast<int32_t>((clamped + 0x1.8p23f) - 0x1.8p23f));
  }
  return scale;
}

}  // namespace hadal
