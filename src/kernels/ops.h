// The ops a forward pass is written in: one typed function per equation. They check shapes, cut the work into units
// by its shape and run the device's kernels on the pool. Not thread-safe: one op at a time per context.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/linear_weight.h"
#include "tensor/view.h"

namespace hadal::ops {

/// One y = x W^T among several that run together.
struct LinearJob {
  View<const float> x;              // [N, w.in]
  const LinearWeight* w;
  View<float> y;                    // [T, w.out]; must not overlap any x
  const int32_t* x_rows = nullptr;  // [T]: row of x for each row of y; null: row t
};

/// y = x W^T. x: [T, in]; y: [T, out]. Sums in f32, by ascending input; a row's result does not depend on T.
void Linear(ExecContext& ctx, View<const float> x, const LinearWeight& w, View<float> y);
/// All jobs as one parallel loop; jobs that follow one another and share x prepare it once.
void Linears(ExecContext& ctx, std::span<const LinearJob> jobs);

/// y[t] = x[t] / sqrt(mean(x[t]^2) + eps) * gain. x, y: [T, D]; gain: [D]; y may be x.
void RmsNorm(ExecContext& ctx, View<const float> x, const float* gain, float eps, View<float> y);

/// y = silu(gate) * up. All [T, D]; y may be gate or up.
void SwiGlu(ExecContext& ctx, View<const float> gate, View<const float> up, View<float> y);

/// y += x. Both [T, D].
void Add(ExecContext& ctx, View<const float> x, View<float> y);

/// Cosines and sines by position: row p holds angle p * inv_freq[i] for each pair i.
struct RopeTable {
  View<const float> cosine, sine;  // [positions, rope / 2]
};

/// Rotates, in every row t, the `rope` columns of each of `heads` heads that begin at `offset` and lie `head_stride`
/// columns apart, by the angles of positions[t]. Pairs are interleaved: columns 2i and 2i + 1.
void Rope(ExecContext& ctx, const RopeTable& table, const int32_t* positions, int64_t heads, int64_t offset,
          int64_t head_stride, View<float> x);

/// One layer's cache of latents, in blocks of `block_size` positions. A sequence's position p lies in its block table's
/// entry p / block_size, place p % block_size; with a shift, position p lies where p + shift would.
struct LayerCache {
  std::byte* data = nullptr;  // [blocks][block_size][width]
  int64_t block_size = 0;
  int64_t width = 0;          // latent + rope
  bool bf16 = false;          // element type: bf16 or f32
  int64_t shift = 0;

  int64_t row_bytes() const { return width * (bf16 ? 2 : 4); }
  std::byte* Row(const int32_t* block_table, int64_t position) const {
    const int64_t place = position + shift, block = block_table[place / block_size];
    return data + (block * block_size + place % block_size) * row_bytes();
  }
};

/// Consecutive tokens of one sequence in a step. A token's form of attention follows from its role, whatever else
/// is in the step: prompt tokens take the plain form, generated tokens the absorbed one.
struct Run {
  enum class Role : uint8_t { kPrompt, kGenerated };
  Role role = Role::kPrompt;
  int64_t first_row = 0;       // of the step's activations
  int64_t count = 0;
  int64_t first_position = 0;  // in its sequence
  const int32_t* block_table = nullptr;
};

/// Writes the run's rows of latents [T, latent + rope] into the cache, rounded to its type.
void CacheAppend(ExecContext& ctx, const LayerCache& cache, const Run& run, View<const float> latents);

/// Plain form (arXiv 2405.04434, eq. 16-19): keys and values are decompressed tile by tile, no scores are kept.
/// q: [T, heads * (nope + rope)], rotated; out: [T, heads * value]; of both the run's rows are used.
void AttendPrompt(ExecContext& ctx, const Run& run, const LayerCache& cache, View<const float> q,
                  std::span<const LinearWeight> k_up, std::span<const LinearWeight> v_up, float scale,
                  View<float> out);

/// One generated token's place.
struct Query {
  int64_t position;
  const int32_t* block_table;
};

/// Absorbed form: attention in the latent space.
/// q_latent: [T, heads * latent]; q_rope: [T, heads * q_rope_stride] of which each head's first `rope` columns count;
/// out: [T, heads * latent].
void AttendAbsorbed(ExecContext& ctx, std::span<const Query> queries, const LayerCache& cache,
                    View<const float> q_latent, View<const float> q_rope, int64_t q_rope_stride, int64_t heads,
                    float scale, View<float> out);

}  // namespace hadal::ops
