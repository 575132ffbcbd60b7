// Packing pieces of a factor into panels (gemm_table.h has the layout). Included once per target.
#pragma once

#include <utility>

#include "kernels/cpu/gemm_formats.h"
#include "kernels/gemm_table.h"

namespace hadal {
namespace {

/// The first `count` elements of a vector, the others zero.
template <typename Vector, typename T>
HADAL_INLINE Vector LoadSome(const T* p, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return reinterpret_cast<Vector>(_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << count) - 1), p));
#endif
  Vector v{};
  __builtin_memcpy(&v, p, static_cast<size_t>(count) * sizeof(T));
  return v;
}

/// The first `bytes` (a multiple of 4) of a vector.
template <typename Vector>
HADAL_INLINE void StoreSome(Vector v, void* p, int64_t bytes) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << (bytes / 4)) - 1), reinterpret_cast<__m512i>(v));
#else
  __builtin_memcpy(p, &v, static_cast<size_t>(bytes));
#endif
}

/// Lane l of the result is lane `Pick(l)` of a and b, b's lanes counted on from a's.
template <typename Pick, typename Vector, int... kLane>
HADAL_INLINE Vector Shuffle(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, Pick::Lane(kLane, sizeof...(kLane))...);
}
/// Pieces of kWidth lanes of a and b in turn, from the lower (or upper) halves of each 16 bytes.
template <int kWidth, int kPerPart, bool kUpper>
struct Interleave {
  static constexpr int Lane(int lane, int lanes) {
    const int part = lane / kPerPart * kPerPart, within = lane % kPerPart;
    const int piece = within / kWidth;  // even: of a
    return (piece % 2 == 0 ? 0 : lanes) + part + piece / 2 * kWidth + within % kWidth +
           (kUpper ? kPerPart / 2 : 0);
  }
};
/// The 16-byte parts of a with even (odd) numbers, then those of b.
template <int kPerPart, bool kOdd>
struct EveryOther {
  static constexpr int Lane(int lane, int lanes) {
    const int part = lane / kPerPart, half = lanes / kPerPart / 2;
    return (part < half ? 0 : lanes) + (part % half * 2 + (kOdd ? 1 : 0)) * kPerPart + lane % kPerPart;
  }
};

/// Within each 16-byte part, kPerPart vectors become as many rows of a kPerPart x kPerPart square.
template <typename Vector, int kLanes>
HADAL_INLINE void TransposeParts(Vector* v) {
  constexpr std::make_integer_sequence<int, kLanes> kAll;
  if constexpr (kLanes == 16) {
    using Low = Interleave<1, 4, false>;
    using High = Interleave<1, 4, true>;
    const Vector a = Shuffle<Low>(v[0], v[1], kAll), b = Shuffle<High>(v[0], v[1], kAll);
    const Vector c = Shuffle<Low>(v[2], v[3], kAll), d = Shuffle<High>(v[2], v[3], kAll);
    v[0] = Shuffle<Interleave<2, 4, false>>(a, c, kAll);
    v[1] = Shuffle<Interleave<2, 4, true>>(a, c, kAll);
    v[2] = Shuffle<Interleave<2, 4, false>>(b, d, kAll);
    v[3] = Shuffle<Interleave<2, 4, true>>(b, d, kAll);
  } else {
    const Vector a = v[0], b = v[1];
    v[0] = Shuffle<Interleave<1, 2, false>>(a, b, kAll);
    v[1] = Shuffle<Interleave<1, 2, true>>(a, b, kAll);
  }
}

/// rows[i][j] becomes rows[j][i]; as many rows as lanes, 16 of 4 bytes or 8 of 8. Squares of 16 bytes first,
/// then whole 16-byte parts: shuffles that processors do fastest.
template <int kLanes, typename Vector>
HADAL_INLINE void Transpose(Vector* rows) {
  constexpr std::make_integer_sequence<int, kLanes> kAll;
  constexpr int kPerPart = kLanes / 4;  // of the four parts of a vector
  using Even = EveryOther<kPerPart, false>;
  using Odd = EveryOther<kPerPart, true>;
  for (int part = 0; part < 4; ++part) TransposeParts<Vector, kLanes>(rows + part * kPerPart);
  for (int j = 0; j < kPerPart; ++j) {
    const Vector a = rows[j], b = rows[kPerPart + j], c = rows[2 * kPerPart + j], d = rows[3 * kPerPart + j];
    const Vector even_ab = Shuffle<Even>(a, b, kAll), odd_ab = Shuffle<Odd>(a, b, kAll);
    const Vector even_cd = Shuffle<Even>(c, d, kAll), odd_cd = Shuffle<Odd>(c, d, kAll);
    rows[j] = Shuffle<Even>(even_ab, even_cd, kAll);
    rows[kPerPart + j] = Shuffle<Even>(odd_ab, odd_cd, kAll);
    rows[2 * kPerPart + j] = Shuffle<Odd>(even_ab, even_cd, kAll);
    rows[3 * kPerPart + j] = Shuffle<Odd>(odd_ab, odd_cd, kAll);
  }
}

/// `room` lanes of one unit, of which the first `there` and the positions [0, depth) exist.
template <typename Format>
HADAL_INLINE void PackUnit(const typename Format::Source* rows, int64_t stride, int64_t depth, int64_t there,
                           int64_t room, typename Format::Element* target) {
  typename Format::Vector positions[Format::kStep] = {};
  for (int i = 0; i < Format::kStep; ++i)
    if (i < depth) positions[i] = LoadSome<typename Format::Vector>(rows + i * stride, there);
  StoreSome(Format::Unit(positions), target,
            room * Format::kStep * static_cast<int64_t>(sizeof(typename Format::Element)));
}

/// Neighbouring lanes lie together: one unit of all panels at a time, so that a row is read in one go.
template <typename Format, int kPanelLanes>
HADAL_INLINE void PackAcross(const PackSource<typename Format::Source>& s, int64_t panel_bytes,
                             std::byte* panels) {
  constexpr int kStep = Format::kStep, kWidth = Format::kLanes;
  constexpr int kRowsAhead = 16;  // rows are far apart: processors see no stream in them
  for (int64_t k = 0; k < s.depth; k += kStep) {
    const typename Format::Source* rows = s.data + k * s.stride;
    std::byte* panel = panels;
    for (int64_t first = 0; first < s.lanes; first += kPanelLanes, panel += panel_bytes) {
      auto* target = reinterpret_cast<typename Format::Element*>(panel) + k * kPanelLanes;
      const int64_t lanes = s.lanes - first, depth = s.depth - k;
      if (lanes >= kPanelLanes && depth >= kStep) {  // all constant
#pragma GCC unroll 4
        for (int lane = 0; lane < kPanelLanes; lane += kWidth) {
          const int room = kPanelLanes - lane < kWidth ? kPanelLanes - lane : kWidth;
          for (int i = 0; i < kStep; ++i)
            __builtin_prefetch(rows + (kRowsAhead + i) * s.stride + first + lane, 0, 2);
          PackUnit<Format>(rows + first + lane, s.stride, kStep, room, room, target + lane * kStep);
        }
        continue;
      }
      for (int lane = 0; lane < kPanelLanes; lane += kWidth) {
        const int64_t room = kPanelLanes - lane < kWidth ? kPanelLanes - lane : kWidth;
        const int64_t there = lanes - lane < 0 ? 0 : lanes - lane < room ? lanes - lane : room;
        PackUnit<Format>(rows + first + lane, s.stride, depth, there, room, target + lane * kStep);
      }
    }
  }
}

/// Positions [0, depth) of one lane as a vector of units, the rest zero.
template <typename Format>
HADAL_INLINE typename Format::Vector LoadUnits(const typename Format::Source* row, int64_t depth) {
  using Vector = typename Format::Vector;
  constexpr int kStep = Format::kStep, kWidth = Format::kLanes;
  Vector positions[kStep];
  for (int i = 0; i < kStep; ++i) {
    const int64_t there = depth - i * kWidth;
    positions[i] = LoadSome<Vector>(row + i * kWidth, there < 0 ? 0 : there < kWidth ? there : kWidth);
  }
  return Format::Units(positions);
}

/// A lane's positions lie together: squares of as many lanes as units, transposed.
template <typename Format, int kPanelLanes>
HADAL_INLINE void PackAlong(const PackSource<typename Format::Source>& s, int64_t first, int64_t lanes,
                            typename Format::Element* panel) {
  using Vector = typename Format::Vector;
  constexpr int kStep = Format::kStep, kWidth = Format::kLanes;
  constexpr int64_t kDepth = kWidth * kStep;
  constexpr int64_t kUnitBytes = kStep * sizeof(typename Format::Element);
  const int64_t units = (s.depth + kStep - 1) / kStep;
  for (int64_t unit = 0; unit < units; unit += kWidth) {
    const int64_t depth = s.depth - unit * kStep < kDepth ? s.depth - unit * kStep : kDepth;
    const int64_t count = units - unit < kWidth ? units - unit : kWidth;
#pragma GCC unroll 4
    for (int lane = 0; lane < kPanelLanes; lane += kWidth) {
      const int room = kPanelLanes - lane < kWidth ? kPanelLanes - lane : kWidth;
      const typename Format::Source* source = s.data + (first + lane) * s.stride + unit * kStep;
      typename Format::Element* target = panel + (unit * kPanelLanes + lane) * kStep;
      Vector square[kWidth] = {};
      if (depth == kDepth && lane + room <= lanes) {
        // Unrolled to the end: the square stays in registers.
#pragma GCC unroll 16
        for (int i = 0; i < room; ++i) {
          Vector positions[kStep];
          __builtin_memcpy(positions, source + i * s.stride, sizeof(positions));
          square[i] = Format::Units(positions);
        }
        Transpose<kWidth>(square);
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) StoreSome(square[i], target + i * kPanelLanes * kStep, room * kUnitBytes);
        continue;
      }
      for (int i = 0; i < room && lane + i < lanes; ++i)
        square[i] = LoadUnits<Format>(source + i * s.stride, depth);
      Transpose<kWidth>(square);
      for (int64_t i = 0; i < count; ++i)
        StoreSome(square[i], target + i * kPanelLanes * kStep, room * kUnitBytes);
    }
  }
}

template <typename Format, int kPanelLanes>
void PackPanels(const PackSource<typename Format::Source>& s, int64_t panel_bytes, std::byte* panels) {
  if (!s.depth_contiguous) return PackAcross<Format, kPanelLanes>(s, panel_bytes, panels);
  for (int64_t first = 0; first < s.lanes; first += kPanelLanes, panels += panel_bytes) {
    const int64_t lanes = s.lanes - first < kPanelLanes ? s.lanes - first : kPanelLanes;
    PackAlong<Format, kPanelLanes>(s, first, lanes, reinterpret_cast<typename Format::Element*>(panels));
  }
}

}  // namespace
}  // namespace hadal
