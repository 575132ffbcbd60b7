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
  Vector v{};
  __builtin_memcpy(&v, p, static_cast<size_t>(count) * sizeof(T));
  return v;
}

// Interleaving blocks of kBlock lanes of two rows is one step of a transposition.
template <int kBlock, typename Vector, int... kLane>
HADAL_INLINE Vector Lower(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
  constexpr int kLanes = sizeof...(kLane);
  return __builtin_shufflevector(a, b, ((kLane & kBlock) ? kLanes + kLane - kBlock : kLane)...);
}
template <int kBlock, typename Vector, int... kLane>
HADAL_INLINE Vector Upper(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
  constexpr int kLanes = sizeof...(kLane);
  return __builtin_shufflevector(a, b, ((kLane & kBlock) ? kLanes + kLane : kLane + kBlock)...);
}

/// rows[i][j] becomes rows[j][i]; as many rows as lanes.
template <int kLanes, int kBlock = 1, typename Vector>
HADAL_INLINE void Transpose(Vector* rows) {
  if constexpr (kBlock < kLanes) {
    constexpr std::make_integer_sequence<int, kLanes> kAll;
    for (int i = 0; i < kLanes; ++i) {
      if (i & kBlock) continue;
      const Vector a = rows[i], b = rows[i + kBlock];
      rows[i] = Lower<kBlock>(a, b, kAll);
      rows[i + kBlock] = Upper<kBlock>(a, b, kAll);
    }
    Transpose<kLanes, kBlock * 2>(rows);
  }
}

/// Neighbouring lanes lie together: one unit of all lanes at a time.
template <typename Format, int kPanelLanes>
HADAL_INLINE void PackAcross(const PackSource<typename Format::Source>& s, int64_t first, int64_t lanes,
                             typename Format::Element* panel) {
  using Vector = typename Format::Vector;
  constexpr int kStep = Format::kStep;
  for (int64_t k = 0; k < s.depth; k += kStep) {
    for (int lane = 0; lane < kPanelLanes; lane += Format::kLanes) {
      constexpr int64_t kWidth = Format::kLanes;
      const int64_t room = kPanelLanes - lane < kWidth ? kPanelLanes - lane : kWidth;
      const int64_t there = lanes - lane < 0 ? 0 : lanes - lane < room ? lanes - lane : room;
      Vector positions[kStep] = {};
      for (int i = 0; i < kStep && k + i < s.depth; ++i) {
        const typename Format::Source* row = s.data + (k + i) * s.stride + first + lane;
        positions[i] = there == room ? LoadSome<Vector>(row, room) : LoadSome<Vector>(row, there);
      }
      const Vector unit = Format::Unit(positions);
      __builtin_memcpy(panel + lane * kStep, &unit,
                       static_cast<size_t>(room * kStep) * sizeof(typename Format::Element));
    }
    panel += kPanelLanes * kStep;
  }
}

/// A lane's positions lie together: squares of as many lanes as units, transposed.
template <typename Format, int kPanelLanes>
HADAL_INLINE void PackAlong(const PackSource<typename Format::Source>& s, int64_t first, int64_t lanes,
                            typename Format::Element* panel) {
  using Vector = typename Format::Vector;
  constexpr int kStep = Format::kStep, kWidth = Format::kLanes;
  constexpr int64_t kDepth = kWidth * kStep;
  const int64_t units = (s.depth + kStep - 1) / kStep;
  for (int64_t unit = 0; unit < units; unit += kWidth) {
    const int64_t depth = s.depth - unit * kStep < kDepth ? s.depth - unit * kStep : kDepth;
    for (int lane = 0; lane < kPanelLanes; lane += kWidth) {
      const int room = kPanelLanes - lane < kWidth ? kPanelLanes - lane : kWidth;
      Vector square[kWidth] = {};
      for (int i = 0; i < room && lane + i < lanes; ++i) {
        const typename Format::Source* row = s.data + (first + lane + i) * s.stride + unit * kStep;
        Vector positions[kStep] = {};
        if (depth == kDepth) {
          __builtin_memcpy(positions, row, sizeof(positions));
        } else {
          __builtin_memcpy(positions, row, static_cast<size_t>(depth) * sizeof(typename Format::Source));
        }
        square[i] = Format::Units(positions);
      }
      Transpose<kWidth>(square);
      const int64_t count = units - unit < kWidth ? units - unit : kWidth;
      typename Format::Element* target = panel + (unit * kPanelLanes + lane) * kStep;
      for (int64_t i = 0; i < count; ++i)
        __builtin_memcpy(target + i * kPanelLanes * kStep, &square[i],
                         static_cast<size_t>(room * kStep) * sizeof(typename Format::Element));
    }
  }
}

template <typename Format, int kPanelLanes>
void PackPanels(const PackSource<typename Format::Source>& s, int64_t panel_bytes, std::byte* panels) {
  for (int64_t first = 0; first < s.lanes; first += kPanelLanes, panels += panel_bytes) {
    auto* panel = reinterpret_cast<typename Format::Element*>(panels);
    const int64_t lanes = s.lanes - first < kPanelLanes ? s.lanes - first : kPanelLanes;
    if (s.depth_contiguous)
      PackAlong<Format, kPanelLanes>(s, first, lanes, panel);
    else
      PackAcross<Format, kPanelLanes>(s, first, lanes, panel);
  }
}

}  // namespace
}  // namespace hadal
