#include "kernels/ops.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::ops {
namespace {

// Below this many elements a loop is not worth a fork.
constexpr int64_t kSerialElements = 1 << 14;

/// body(row) for each row, on the pool where there is enough to do.
template <typename Body>
void ForRows(ExecContext& ctx, int64_t rows, int64_t width, Body&& body) {
  if (rows * width <= kSerialElements) {
    for (int64_t t = 0; t < rows; ++t) body(t);
  } else {
    ctx.pool().For(rows, [&](int64_t t, int) { body(t); });
  }
}

}  // namespace

void RmsNorm(ExecContext& ctx, View<const float> x, const float* gain, float eps, View<float> y) {
  HADAL_CHECK_EQ(x.rows, y.rows);
  HADAL_CHECK_EQ(x.cols, y.cols);
  ForRows(ctx, x.rows, x.cols, [&](int64_t t) { ctx.kernels().rms_norm(x.row(t), gain, eps, x.cols, y.row(t)); });
}

void SwiGlu(ExecContext& ctx, View<const float> gate, View<const float> up, View<float> y) {
  HADAL_CHECK_EQ(gate.rows, up.rows);
  HADAL_CHECK_EQ(gate.cols, up.cols);
  HADAL_CHECK_EQ(y.rows, up.rows);
  HADAL_CHECK_EQ(y.cols, up.cols);
  ForRows(ctx, y.rows, y.cols, [&](int64_t t) { ctx.kernels().swiglu(gate.row(t), up.row(t), y.cols, y.row(t)); });
}

void Add(ExecContext& ctx, View<const float> x, View<float> y) {
  HADAL_CHECK_EQ(x.rows, y.rows);
  HADAL_CHECK_EQ(x.cols, y.cols);
  ForRows(ctx, y.rows, y.cols, [&](int64_t t) { ctx.kernels().add_scaled(x.row(t), 1.0f, y.cols, y.row(t)); });
}

void Rope(ExecContext& ctx, const RopeTable& table, const int32_t* positions, int64_t heads, int64_t offset,
          int64_t head_stride, View<float> x) {
  const int64_t pairs = table.cosine.cols;
  HADAL_CHECK(offset + (heads - 1) * head_stride + 2 * pairs <= x.cols, "{} + {} * {} + {} of {}", offset,
              heads - 1, head_stride, 2 * pairs, x.cols);
  ForRows(ctx, x.rows, heads * 2 * pairs, [&](int64_t t) {
    HADAL_CHECK(positions[t] >= 0 && positions[t] < table.cosine.rows, "position {} of {}", positions[t],
                table.cosine.rows);
    for (int64_t h = 0; h < heads; ++h)
      ctx.kernels().rope(x.row(t) + offset + h * head_stride, table.cosine.row(positions[t]),
                         table.sine.row(positions[t]), pairs);
  });
}

void CacheAppend(ExecContext& ctx, const LayerCache& cache, const Run& run, View<const float> latents) {
  HADAL_CHECK_EQ(latents.cols, cache.width);
  ForRows(ctx, run.count, cache.width, [&](int64_t i) {
    const float* source = latents.row(run.first_row + i);
    std::byte* target = cache.Row(run.block_table, run.first_position + i);
    if (cache.bf16) {
      bf16* codes = reinterpret_cast<bf16*>(target);
      for (int64_t c = 0; c < cache.width; ++c) codes[c] = ToBF16(source[c]);
    } else {
      std::copy_n(source, cache.width, reinterpret_cast<float*>(target));
    }
  });
}

}  // namespace hadal::ops
