// Latent attention on vectors, both forms (arXiv 2405.04434, section 2.1). Included once per target.
//
// Softmax is taken online: positions come in tiles at fixed absolute places, and each tile updates a running
// maximum, sum and weighted sum. A query's result depends on its own position and the cache alone.
#pragma once

#include "kernels/cpu/linear.h"

namespace hadal {
namespace {

constexpr float kNegativeInfinity = -__builtin_inff();

/// One cached token as floats.
HADAL_INLINE void WidenRow(const void* row, bool is_bf16, int64_t width, float* out) {
  if (!is_bf16) {
    __builtin_memcpy(out, row, static_cast<size_t>(width) * sizeof(float));
    return;
  }
  const uint16_t* codes = static_cast<const uint16_t*>(row);
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) Store(LoadBF16(codes + i), out + i);
  for (; i < width; ++i) {
    const uint32_t bits = static_cast<uint32_t>(codes[i]) << 16;
    __builtin_memcpy(out + i, &bits, 4);
  }
}

/// The tokens of the next tile are asked for while this one is computed: rows are short and lie block by block.
HADAL_INLINE void PrefetchRow(const void* row, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(row) + at);
}

/// The scores of 16 heads (lanes) against N tokens, for t in [0, N): out[t] = sum_i tokens[t][i] * q[i].
/// With 16 tokens a step is 16 multiply-adds for 17 loads, of which two run a cycle as of those.
template <int N>
HADAL_INLINE void HeadScores(const float* q, const float* tokens, int64_t width, F32x16* out) {
  F32x16 sum[N] = {};
  for (int64_t i = 0; i < width; ++i) {
    const F32x16 query = Load(q + i * kPanel);
    for (int t = 0; t < N; ++t) sum[t] = Fma(Set1(tokens[t * width + i]), query, sum[t]);
  }
  for (int t = 0; t < N; ++t) out[t] = sum[t];
}

/// out[h][c] = out[h][c] * keep[h] + sum_t p[t][h] * tokens[t][c] over `count` tokens, t ascending, of H heads and V
/// vectors of the latent. Four by four is 16 sums for 8 loads a token: even from the second-level cache, where a
/// tile's tokens lie, the multiply-adds are what takes the time.
template <int H, int V>
HADAL_INLINE void AccumulateBlock(const float* p, const float* tokens, int64_t count, int64_t width,
                                  const float* keep, int64_t latent, float* out) {
  F32x16 sum[H][V];
  for (int h = 0; h < H; ++h)
    for (int v = 0; v < V; ++v) sum[h][v] = Load(out + h * latent + v * 16) * Set1(keep[h]);
  for (int64_t t = 0; t < count; ++t) {
    F32x16 value[V];
    for (int v = 0; v < V; ++v) value[v] = Load(tokens + t * width + v * 16);
    for (int h = 0; h < H; ++h) {
      const F32x16 weight = Set1(p[t * kPanel + h]);
      for (int v = 0; v < V; ++v) sum[h][v] = Fma(weight, value[v], sum[h][v]);
    }
  }
  for (int h = 0; h < H; ++h)
    for (int v = 0; v < V; ++v) Store(sum[h][v], out + h * latent + v * 16);
}

/// The same of H heads and the whole latent.
template <int H>
HADAL_INLINE void AccumulateHeads(const float* p, const float* tokens, int64_t count, int64_t width,
                                  const float* keep, int64_t latent, float* out) {
  int64_t c = 0;
  for (; c + 64 <= latent; c += 64) AccumulateBlock<H, 4>(p, tokens + c, count, width, keep, latent, out + c);
  for (; c + 16 <= latent; c += 16) AccumulateBlock<H, 1>(p, tokens + c, count, width, keep, latent, out + c);
  for (; c < latent; ++c) {
    for (int h = 0; h < H; ++h) {
      float sum = out[h * latent + c] * keep[h];
      for (int64_t t = 0; t < count; ++t)
        sum = Fma(Set1(p[t * kPanel + h]), Set1(tokens[t * width + c]), Set1(sum))[0];
      out[h * latent + c] = sum;
    }
  }
}

HADAL_INLINE void AccumulateLatent(const float* p, const float* tokens, int64_t count, int64_t width,
                                   const float* keep, int64_t heads, int64_t latent, float* out) {
  int64_t h = 0;
  for (; h + 4 <= heads; h += 4)
    AccumulateHeads<4>(p + h, tokens, count, width, keep + h, latent, out + h * latent);
  for (; h < heads; ++h) AccumulateHeads<1>(p + h, tokens, count, width, keep + h, latent, out + h * latent);
}

void AttendAbsorbed(const AbsorbedArgs& a) {
  const int64_t width = a.latent + a.rope;
  float* q = a.scratch;                                  // [width][16 heads]
  float* tokens = q + width * kPanel;                    // [kPositionTile][width]
  float* p = tokens + kPositionTile * width;             // [kPositionTile][16 heads]
  float* keep = p + kPositionTile * kPanel;              // [16]
  const int64_t row_bytes = width * (a.cache_bf16 ? 2 : 4);
  for (int64_t i = 0; i < width * kPanel; ++i) q[i] = 0;
  for (int64_t h = 0; h < a.heads; ++h) {
    for (int64_t i = 0; i < a.latent; ++i) q[i * kPanel + h] = a.q_latent[h * a.q_latent_stride + i];
    for (int64_t i = 0; i < a.rope; ++i) q[(a.latent + i) * kPanel + h] = a.q_rope[h * a.q_rope_stride + i];
  }
  for (int64_t i = 0; i < a.heads * a.latent; ++i) a.out[i] = 0;

  F32x16 top = Set1(kNegativeInfinity), sum = Zero();
  for (int64_t begin = 0; begin < a.count; begin += kPositionTile) {
    const int64_t count = a.count - begin < kPositionTile ? a.count - begin : kPositionTile;
    for (int64_t t = 0; t < count; ++t) {
      WidenRow(a.rows[begin + t], a.cache_bf16, width, tokens + t * width);
      if (begin + t + kPositionTile < a.count) PrefetchRow(a.rows[begin + t + kPositionTile], row_bytes);
    }
    F32x16 score[kPositionTile];
    int64_t t = 0;
    for (; t + 16 <= count; t += 16) HeadScores<16>(q, tokens + t * width, width, score + t);
    for (; t + 4 <= count; t += 4) HeadScores<4>(q, tokens + t * width, width, score + t);
    for (; t < count; ++t) HeadScores<1>(q, tokens + t * width, width, score + t);
    F32x16 new_top = top;
    for (t = 0; t < count; ++t) {
      score[t] = score[t] * Set1(a.scale);
      new_top = Max(score[t], new_top);
    }
    const F32x16 shrink = Exp(top - new_top);
    top = new_top;
    sum = sum * shrink;
    Store(shrink, keep);
    for (t = 0; t < count; ++t) {
      const F32x16 weight = Exp(score[t] - top);
      sum = sum + weight;
      Store(weight, p + t * kPanel);
    }
    AccumulateLatent(p, tokens, count, width, keep, a.heads, a.latent, a.out);
  }
  Store(top, a.max);
  Store(sum, a.sum);
}

/// The key and value of one head for positions [begin, begin + count): keys as k[nope + rope][kPromptTile] with
/// positions as lanes, values as v[kPromptTile][value_padded]; what lies beyond `count` is zero.
struct HeadTile {
  float* k;
  float* v;
  int64_t value_padded;
};

HADAL_INLINE void Decompress(const PromptArgs& a, int64_t begin, int64_t count, const HeadTile& tile, float* scratch,
                             void (*prepare)(const PanelWeight&, const float*, void*),
                             void (*linear)(const PanelWeight&, const void* const*, int64_t, int64_t, int64_t,
                                            float* const*)) {
  const int64_t nope_padded = (a.nope + kPanel - 1) / kPanel * kPanel;
  float* keys = scratch;                                    // [kPromptTile][nope_padded]
  float* token = keys + kPromptTile * nope_padded;          // [latent + rope]
  char* prepared = reinterpret_cast<char*>(token + a.latent + a.rope);
  prepared += (64 - reinterpret_cast<uintptr_t>(prepared) % 64) % 64;
  const int64_t row_bytes = PromptRowBytes(a.latent);
  const void* k_rows[kPromptTile];
  const void* v_rows[kPromptTile];
  float* k_out[kPromptTile];
  float* v_out[kPromptTile];
  for (int64_t t = 0; t < count; ++t) {
    WidenRow(a.rows[begin + t], a.cache_bf16, a.latent + a.rope, token);
    char* row = prepared + 2 * t * row_bytes;
    prepare(a.k_up, token, row);
    prepare(a.v_up, token, row + row_bytes);
    k_rows[t] = row;
    v_rows[t] = row + row_bytes;
    k_out[t] = keys + t * nope_padded;
    v_out[t] = tile.v + t * tile.value_padded;
    for (int64_t i = 0; i < a.rope; ++i) tile.k[(a.nope + i) * kPromptTile + t] = token[a.latent + i];
  }
  for (int64_t i = count * tile.value_padded; i < kPromptTile * tile.value_padded; ++i) tile.v[i] = 0;
  linear(a.k_up, k_rows, count, 0, (a.nope + kPanel - 1) / kPanel, k_out);
  linear(a.v_up, v_rows, count, 0, (a.value + kPanel - 1) / kPanel, v_out);
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t i = 0; i < a.nope; ++i) tile.k[i * kPromptTile + t] = k_out[t][i];
    for (int64_t i = a.value; i < tile.value_padded; ++i) v_out[t][i] = 0;
  }
  for (int64_t i = 0; i < a.nope + a.rope; ++i)
    for (int64_t t = count; t < kPromptTile; ++t) tile.k[i * kPromptTile + t] = 0;
}

/// One tile of positions for N queries: scores, online softmax, weighted values. sums: [N][value_padded].
template <int N>
HADAL_INLINE void AttendTile(const PromptArgs& a, const HeadTile& tile, int64_t query, int64_t begin, float* weights,
                             float* top, float* total, float* sums) {
  constexpr int kVectors = kPromptTile / kPanel;
  const int64_t width = a.nope + a.rope;
  F32x16 score[N][kVectors] = {};
  for (int64_t i = 0; i < width; ++i) {
    F32x16 key[kVectors];
    for (int j = 0; j < kVectors; ++j) key[j] = Load(tile.k + i * kPromptTile + j * kPanel);
    for (int n = 0; n < N; ++n)
      for (int j = 0; j < kVectors; ++j)
        score[n][j] = Fma(Set1(a.q[(query + n) * a.q_stride + i]), key[j], score[n][j]);
  }
  constexpr I32x16 kLanes{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  int64_t limits[N];
  float keep[N];
  for (int n = 0; n < N; ++n) {
    // Query n sees the tile's positions up to its own.
    const int64_t visible = a.first_position + query + n - begin + 1;
    const int32_t limit = static_cast<int32_t>(visible < kPromptTile ? visible : kPromptTile);
    limits[n] = limit;
    F32x16 best = Set1(top[n]);
    for (int j = 0; j < kVectors; ++j) {
      const I32x16 hidden = kLanes + static_cast<int32_t>(j * kPanel) >= limit;
      score[n][j] = Select(hidden, Set1(kNegativeInfinity), score[n][j] * Set1(a.scale));
      best = Max(score[n][j], best);
    }
    const float new_top = ReduceMax(best);
    keep[n] = Exp(Set1(top[n] - new_top))[0];
    top[n] = new_top;
    F32x16 sum = Zero();
    for (int j = 0; j < kVectors; ++j) {
      const F32x16 weight = Exp(score[n][j] - Set1(new_top));
      sum = sum + weight;
      Store(weight, weights + n * kPromptTile + j * kPanel);
    }
    total[n] = total[n] * keep[n] + ReduceAdd(sum);
  }
  for (int64_t c = 0; c < tile.value_padded; c += kPanel) {
    F32x16 sum[N];
    for (int n = 0; n < N; ++n) sum[n] = Load(sums + n * tile.value_padded + c) * Set1(keep[n]);
    for (int64_t t = 0; t < limits[0]; ++t) {
      const F32x16 value = Load(tile.v + t * tile.value_padded + c);
      for (int n = 0; n < N; ++n) sum[n] = Fma(Set1(weights[n * kPromptTile + t]), value, sum[n]);
    }
    // Later queries see a few positions more; the first never touches them (its weight of 0 times infinity is NaN).
    for (int n = 1; n < N; ++n)
      for (int64_t t = limits[0]; t < limits[n]; ++t)
        sum[n] = Fma(Set1(weights[n * kPromptTile + t]), Load(tile.v + t * tile.value_padded + c), sum[n]);
    for (int n = 0; n < N; ++n) Store(sum[n], sums + n * tile.value_padded + c);
  }
}

void AttendPrompt(const PromptArgs& a, void (*prepare)(const PanelWeight&, const float*, void*),
                  void (*linear)(const PanelWeight&, const void* const*, int64_t, int64_t, int64_t, float* const*)) {
  const int64_t value_padded = (a.value + kPanel - 1) / kPanel * kPanel;
  float* k = a.scratch;
  HeadTile tile{k, k + (a.nope + a.rope) * kPromptTile, value_padded};
  float* top = tile.v + kPromptTile * value_padded;  // [queries]
  float* total = top + a.queries;                    // [queries]
  float* sums = total + a.queries;                   // [queries][value_padded]
  float* weights = sums + a.queries * value_padded;  // [4][kPromptTile]
  float* rest = weights + 4 * kPromptTile;
  for (int64_t i = 0; i < a.queries; ++i) {
    top[i] = kNegativeInfinity;
    total[i] = 0;
  }
  for (int64_t i = 0; i < a.queries * value_padded; ++i) sums[i] = 0;

  const int64_t end = a.first_position + a.queries;
  for (int64_t begin = 0; begin < end; begin += kPromptTile) {
    const int64_t count = end - begin < kPromptTile ? end - begin : kPromptTile;
    Decompress(a, begin, count, tile, rest, prepare, linear);
    // The first query that sees this tile at all.
    int64_t query = begin > a.first_position ? begin - a.first_position : 0;
    for (; query + 4 <= a.queries; query += 4)
      AttendTile<4>(a, tile, query, begin, weights, top + query, total + query, sums + query * value_padded);
    for (; query < a.queries; ++query)
      AttendTile<1>(a, tile, query, begin, weights, top + query, total + query, sums + query * value_padded);
  }
  for (int64_t i = 0; i < a.queries; ++i)
    for (int64_t c = 0; c < a.value; ++c) a.out[i * a.out_stride + c] = sums[i * value_padded + c] / total[i];
}

}  // namespace
}  // namespace hadal
