// Rotary position embedding of interleaved pairs (columns 2i and 2i + 1), in place.
#pragma once

#include <vector>

#include "model/config.h"
#include "train/ops/context.h"

namespace hadal::train {

/// Cosines and sines of positions [0, positions), [positions, rope / 2] row-major, YaRN's factor included.
/// For float they are those of model/rope.h, which serving uses; for double the same angles (fp32 products)
/// with full precision.
template <typename T>
struct RotaryTable {
  RotaryTable(const RopeConfig& rope, int64_t rope_dim, int64_t positions);

  int64_t half = 0;  // rope_dim / 2
  int64_t positions = 0;
  std::vector<T> cos, sin;
};

enum class Turn { kForward, kBackward };

/// Rotates, in every row t, the 2 * table.half columns of each of `heads` heads that begin at `offset` and
/// lie `head_stride` columns apart, by the angles of positions[t] (checked against the table). kBackward is
/// the gradient: the transposed map, a turn by the negative angle (with the same factor on cosines and
/// sines).
template <typename T>
void Rotate(const OpContext& ctx, const RotaryTable<T>& table, const int32_t* positions, int64_t heads,
            int64_t offset, int64_t head_stride, Turn turn, View<T> x);

}  // namespace hadal::train
