#include "train/ops/rope.h"

#include <cmath>
#include <type_traits>

#include "base/check.h"
#include "model/rope.h"

namespace hadal::train {

template <typename T>
RotaryTable<T>::RotaryTable(const RopeConfig& rope, int64_t rope_dim, int64_t positions)
    : half(rope_dim / 2), positions(positions) {
  if (half == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    RopeAngles table(rope, rope_dim, positions);
    cos = std::move(table.cos);
    sin = std::move(table.sin);
  } else {
    const std::vector<float> frequencies = InverseFrequencies(rope, rope_dim);
    const double factor = CosSinScale(rope);
    for (int64_t p = 0; p < positions; ++p) {
      for (float frequency : frequencies) {
        const float angle = static_cast<float>(p) * frequency;
        cos.push_back(std::cos(double{angle}) * factor);
        sin.push_back(std::sin(double{angle}) * factor);
      }
    }
  }
}

template <typename T>
void Rotate(const OpContext& ctx, const RotaryTable<T>& table, const int32_t* positions, int64_t heads,
            int64_t offset, int64_t head_stride, Turn turn, View<T> x) {
  HADAL_CHECK(offset + (heads - 1) * head_stride + 2 * table.half <= x.cols, "{} + {} * {} + {} of {}",
              offset, heads - 1, head_stride, 2 * table.half, x.cols);
  const T sign = turn == Turn::kForward ? 1 : -1;
  ForRows(ctx, x.rows, heads * 2 * table.half, [&](int64_t t) {
    HADAL_CHECK(positions[t] >= 0 && positions[t] < table.positions, "position {} of {}", positions[t],
                table.positions);
    const T* cosine = table.cos.data() + positions[t] * table.half;
    const T* sine = table.sin.data() + positions[t] * table.half;
    for (int64_t h = 0; h < heads; ++h) {
      T* pair = x.row(t) + offset + h * head_stride;
      for (int64_t i = 0; i < table.half; ++i, pair += 2) {
        const T a = pair[0], b = pair[1], s = sign * sine[i];
        pair[0] = a * cosine[i] - b * s;
        pair[1] = b * cosine[i] + a * s;
      }
    }
  });
}

#define HADAL_INSTANTIATE(T)                                                                               \
  template struct RotaryTable<T>;                                                                          \
  template void Rotate(const OpContext&, const RotaryTable<T>&, const int32_t*, int64_t, int64_t, int64_t, \
                       Turn, View<T>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
