#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/ops.h"

namespace hadal::ops {

void AttendPrompt(ExecContext& ctx, const Run& run, const LayerCache& cache, View<const float> q,
                  std::span<const LinearWeight> k_up, std::span<const LinearWeight> v_up, float scale,
                  View<float> out) {
  const int64_t heads = static_cast<int64_t>(k_up.size());
  const int64_t nope = k_up[0].out, value = v_up[0].out, latent = k_up[0].in;
  const int64_t rope = cache.width - latent;
  const int64_t end = run.first_position + run.count;
  HADAL_CHECK_EQ(q.cols, heads * (nope + rope));
  HADAL_CHECK_EQ(out.cols, heads * value);
  HADAL_CHECK(end <= ctx.limits().context && run.count <= ctx.limits().prompt_run, "{} tokens up to position {}",
              run.count, end);
  const void** rows = reinterpret_cast<const void**>(ctx.shared());
  for (int64_t p = 0; p < end; ++p) rows[p] = cache.Row(run.block_table, p);
  ctx.pool().For(heads, [&](int64_t h, int worker) {
    PromptArgs args;
    args.q = q.row(run.first_row) + h * (nope + rope);
    args.q_stride = q.stride;
    args.queries = run.count;
    args.first_position = run.first_position;
    args.rows = rows;
    args.k_up = ToPanelWeight(k_up[static_cast<size_t>(h)]);
    args.v_up = ToPanelWeight(v_up[static_cast<size_t>(h)]);
    const bool pairs = ctx.kernels().bf16_pairs;
    HADAL_CHECK(std::max(PreparedRowBytes(args.k_up, pairs), PreparedRowBytes(args.v_up, pairs)) <=
                    PromptRowBytes(latent),
                "prepared rows of groups of {} are too large for scratch", args.k_up.group);
    args.nope = nope;
    args.rope = rope;
    args.value = value;
    args.latent = latent;
    args.cache_bf16 = cache.bf16;
    args.scale = scale;
    args.out = out.row(run.first_row) + h * value;
    args.out_stride = out.stride;
    args.scratch = ctx.worker(worker);
    ctx.kernels().attend_prompt(args);
  });
}

namespace {

/// A query's 16 heads: the unit of the absorbed form, its positions cut into splits of kPositionSplit.
struct HeadGroup {
  int64_t query;
  int64_t first_head;
  int64_t heads;
  int64_t splits;
  int64_t partial;  // floats from the start of scratch
};

/// Floats one split leaves: 16 heads' sums of latents, maxima and sums of weights.
int64_t PartialFloats(int64_t latent) { return kPanel * (latent + 2); }

void AttendSplit(const ExecContext& ctx, const HeadGroup& group, int64_t split, const Query& query,
                 const LayerCache& cache, const float* q_latent, const float* q_rope, int64_t q_rope_stride,
                 int64_t latent, float scale, float* partial, float* scratch) {
  const int64_t begin = split * kPositionSplit;
  const int64_t end = std::min(query.position + 1, begin + kPositionSplit);
  const void* rows[kPositionSplit];
  for (int64_t p = begin; p < end; ++p) rows[p - begin] = cache.Row(query.block_table, p);
  AbsorbedArgs args;
  args.q_latent = q_latent + group.first_head * latent;
  args.q_latent_stride = latent;
  args.q_rope = q_rope + group.first_head * q_rope_stride;
  args.q_rope_stride = q_rope_stride;
  args.rows = rows;
  args.count = end - begin;
  args.heads = group.heads;
  args.latent = latent;
  args.rope = cache.width - latent;
  args.cache_bf16 = cache.bf16;
  args.scale = scale;
  args.out = partial;
  args.max = partial + kPanel * latent;
  args.sum = args.max + kPanel;
  args.scratch = scratch;
  ctx.kernels().attend_absorbed(args);
}

/// out = the splits' weighted sums over the sum of weights, splits in ascending order.
void MergeSplits(const ExecContext& ctx, const HeadGroup& group, const float* partials, int64_t latent, float* out) {
  const int64_t step = PartialFloats(latent);
  const float* maxima = partials + kPanel * latent;
  for (int64_t h = 0; h < group.heads; ++h) {
    float top = maxima[h];
    for (int64_t s = 1; s < group.splits; ++s) top = std::max(top, maxima[s * step + h]);
    float total = 0;
    for (int64_t s = 0; s < group.splits; ++s)
      total += std::exp(maxima[s * step + h] - top) * maxima[s * step + kPanel + h];
    float* target = out + (group.first_head + h) * latent;
    std::fill_n(target, latent, 0.0f);
    for (int64_t s = 0; s < group.splits; ++s)
      ctx.kernels().add_scaled(partials + s * step + h * latent, std::exp(maxima[s * step + h] - top) / total, latent,
                               target);
  }
}

}  // namespace

void AttendAbsorbed(ExecContext& ctx, std::span<const Query> queries, const LayerCache& cache,
                    View<const float> q_latent, View<const float> q_rope, int64_t q_rope_stride, int64_t heads,
                    float scale, View<float> out) {
  const int64_t latent = q_latent.cols / heads;
  HADAL_CHECK_EQ(q_latent.cols, heads * latent);
  HADAL_CHECK_EQ(out.cols, heads * latent);
  HADAL_CHECK_EQ(q_latent.rows, static_cast<int64_t>(queries.size()));
  float* partials = reinterpret_cast<float*>(ctx.shared());
  const int64_t capacity = static_cast<int64_t>(ctx.shared_bytes() / sizeof(float));
  const int64_t groups_per_query = (heads + kPanel - 1) / kPanel;
  const int64_t all_groups = groups_per_query * static_cast<int64_t>(queries.size());

  // Waves: as many head groups at once as scratch holds partial results for. Waves do not change a result.
  constexpr int64_t kWave = 256;
  HeadGroup wave[kWave];
  int64_t first_split[kWave];
  for (int64_t next = 0; next < all_groups;) {
    int64_t count = 0, used = 0, splits = 0;
    while (next < all_groups && count < kWave) {
      const int64_t query = next / groups_per_query, head = next % groups_per_query * kPanel;
      const int64_t position = queries[static_cast<size_t>(query)].position;
      HADAL_CHECK(position >= 0 && position < ctx.limits().context, "position {}", position);
      const int64_t mine = position / kPositionSplit + 1;
      if (count > 0 && used + mine * PartialFloats(latent) > capacity) break;
      wave[count] = {query, head, std::min(kPanel, heads - head), mine, used};
      first_split[count] = splits;
      used += mine * PartialFloats(latent);
      splits += mine;
      ++count;
      ++next;
    }
    HADAL_CHECK(used <= capacity, "{} floats of partial results, {} planned", used, capacity);
    ctx.pool().For(splits, [&](int64_t unit, int worker) {
      const int64_t g = std::upper_bound(first_split, first_split + count, unit) - first_split - 1;
      const int64_t split = unit - first_split[g];
      AttendSplit(ctx, wave[g], split, queries[static_cast<size_t>(wave[g].query)], cache,
                  q_latent.row(wave[g].query), q_rope.row(wave[g].query), q_rope_stride, latent, scale,
                  partials + wave[g].partial + split * PartialFloats(latent), ctx.worker(worker));
    });
    ctx.pool().For(count, [&](int64_t g, int) {
      MergeSplits(ctx, wave[g], partials + wave[g].partial, latent, out.row(wave[g].query));
    });
  }
}

}  // namespace hadal::ops
