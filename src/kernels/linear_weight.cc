#include "kernels/linear_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "base/rounding.h"

namespace hadal {
namespace {

/// Where (lane, k) of a panel lies: the byte, and for INT4 whether it is the high nibble. This is the layout's
/// definition; PackPanel writes the same places a unit at a time.
struct Place {
  int64_t byte;
  bool high = false;
};

Place PlaceOf(WeightFormat format, int64_t lane, int64_t k) {
  switch (format) {
    case WeightFormat::kF32: return {(k * kPanel + lane) * 4};
    case WeightFormat::kF16: return {(k * kPanel + lane) * 2};
    case WeightFormat::kBF16: return {(k / 2) * 64 + lane * 4 + (k % 2) * 2};
    case WeightFormat::kFp8: return {(k / 4) * 64 + (lane / 4) * 16 + (k / 2 % 2) * 8 + (lane % 4) * 2 + k % 2};
    case WeightFormat::kInt8: return {(k / 4) * 64 + lane * 4 + k % 4};
    case WeightFormat::kInt4: return {(k / 8) * 64 + lane * 4 + k % 4, k % 8 >= 4};
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
void PackUnits(const LinearWeight& w, const PanelRows<Code>& rows, std::byte* panel) {
  constexpr int64_t kChunk = 128;
  const int64_t whole = w.in / Unit::kInputs, rest = w.in % Unit::kInputs;
  for (int64_t begin = 0; begin < whole; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, whole);
    for (int64_t lane = 0; lane < rows.count; ++lane) {
      const Code* row = rows.data + lane * rows.stride;
      for (int64_t u = begin; u < end; ++u) Unit::Put(row + u * Unit::kInputs, lane, panel + u * Unit::kBytes);
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
      Unit::Put(last, lane, panel + u++ * Unit::kBytes);
    }
    for (; u < units; ++u) Unit::Put(zeros, lane, panel + u * Unit::kBytes);
  }
}

}  // namespace

int64_t LinearWeight::scale_count() const {
  if (format == WeightFormat::kFp8) return (in + kFp8Block - 1) / kFp8Block;
  if (format == WeightFormat::kInt8 || format == WeightFormat::kInt4) return (in + group - 1) / group;
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

int64_t LinearWeight::scales_bytes() const {
  if (format == WeightFormat::kFp8) return panel_count() * scale_count() * 4;
  return panel_count() * scale_count() * kPanel * (scales_bf16 ? 2 : 4);
}

template <typename Code>
void PackPanel(const LinearWeight& w, const Code* rows, int64_t row_stride, int64_t row_count,
               std::byte* panel_data) {
  using enum WeightFormat;
  const PanelRows<Code> panel{rows, row_stride, row_count};
  if constexpr (std::is_same_v<Code, float>) {
    HADAL_CHECK(w.format == kF32, "format {}", static_cast<int>(w.format));
    PackUnits<F32Unit>(w, panel, panel_data);
  } else if constexpr (std::is_same_v<Code, uint16_t>) {
    HADAL_CHECK(w.format == kF16 || w.format == kBF16, "format {}", static_cast<int>(w.format));
    w.format == kF16 ? PackUnits<F16Unit>(w, panel, panel_data) : PackUnits<BF16Unit>(w, panel, panel_data);
  } else if constexpr (std::is_same_v<Code, uint8_t>) {
    HADAL_CHECK(w.format == kFp8, "format {}", static_cast<int>(w.format));
    PackUnits<Fp8Unit>(w, panel, panel_data);
  } else {
    HADAL_CHECK(w.format == kInt8 || w.format == kInt4, "format {}", static_cast<int>(w.format));
    w.format == kInt8 ? PackUnits<Int8Unit>(w, panel, panel_data) : PackUnits<Int4Unit>(w, panel, panel_data);
  }
}

template void PackPanel<float>(const LinearWeight&, const float*, int64_t, int64_t, std::byte*);
template void PackPanel<uint16_t>(const LinearWeight&, const uint16_t*, int64_t, int64_t, std::byte*);
template void PackPanel<uint8_t>(const LinearWeight&, const uint8_t*, int64_t, int64_t, std::byte*);
template void PackPanel<int8_t>(const LinearWeight&, const int8_t*, int64_t, int64_t, std::byte*);

float PackedCode(const LinearWeight& w, int64_t output, int64_t k) {
  const Place place = PlaceOf(w.format, output % kPanel, k);
  const std::byte* source = w.panels + output / kPanel * w.panel_bytes() + place.byte;
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
  const int64_t panel = output / kPanel;
  if (w.format == WeightFormat::kFp8)
    return static_cast<const float*>(w.scales)[panel * w.scale_count() + k / kFp8Block];
  if (w.format != WeightFormat::kInt8 && w.format != WeightFormat::kInt4) return 1;
  const int64_t index = (panel * w.scale_count() + k / w.group) * kPanel + output % kPanel;
  if (w.scales_bf16) return ToFloat(bf16{static_cast<const uint16_t*>(w.scales)[index]});
  return static_cast<const float*>(w.scales)[index];
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
