#include "model/attention.h"

#include <algorithm>

namespace hadal {
namespace {

// The norms inside attention take this epsilon whatever rms_norm_eps says, as Hugging Face's model code does.
constexpr float kLatentNormEps = 1e-6f;

/// The absorbed form for generated rows [first, first + count): the key's up-projection is folded into the query,
/// attention happens in the latent space, the value's up-projection comes after it.
void AbsorbedRows(ExecContext& ctx, const ModelConfig& c, const MlaWeights& w, const ops::LayerCache& cache,
                  std::span<const ops::Query> queries, int64_t first, Activations& a) {
  const int64_t heads = c.num_attention_heads, count = static_cast<int64_t>(queries.size());
  const int64_t n = c.qk_nope_head_dim, qk = c.qk_head_dim(), latent = c.kv_lora_rank, value = c.v_head_dim;
  const View<float> q = a.q.Rows(first, count), out = a.heads.Rows(first, count);
  const View<float> q_absorbed = a.q_absorbed.Rows(0, count), o_latent = a.o_latent.Rows(0, count);
  std::vector<ops::LinearJob>& jobs = a.jobs;

  jobs.clear();
  for (int64_t h = 0; h < heads; ++h)
    jobs.push_back({q.Cols(h * qk, n), &w.k_up_absorbed[static_cast<size_t>(h)], q_absorbed.Cols(h * latent, latent)});
  ops::Linears(ctx, jobs);                                                                // [count, H, c]
  ops::AttendAbsorbed(ctx, queries, cache, q_absorbed, q.Cols(n, q.cols - n), qk, heads,  // [count, H, c]
                      static_cast<float>(c.SoftmaxScale()), o_latent);
  jobs.clear();
  for (int64_t h = 0; h < heads; ++h)
    jobs.push_back({o_latent.Cols(h * latent, latent), &w.v_up_absorbed[static_cast<size_t>(h)],
                    out.Cols(h * value, value)});
  ops::Linears(ctx, jobs);                                                                // [count, H, v]
}

/// Norm and rotation of the step's latents in `kv`, and their way into the cache.
void StoreLatents(ExecContext& ctx, const ModelConfig& c, const MlaWeights& w, const ops::RopeTable& rope,
                  const ops::LayerCache& cache, const Step& step, View<float> kv) {
  const View<float> latent = kv.Cols(0, c.kv_lora_rank);
  ops::RmsNorm(ctx, latent, w.kv_norm, kLatentNormEps, latent);
  ops::Rope(ctx, rope, step.positions.data(), 1, c.kv_lora_rank, 0, kv);
  for (const Run& run : step.runs) ops::CacheAppend(ctx, cache, run, kv);
}

}  // namespace

void CacheLatents(ExecContext& ctx, const ModelConfig& c, const MlaWeights& w, const ops::RopeTable& rope,
                  const ops::LayerCache& cache, const Step& step, Activations& a) {
  const View<float> kv = a.kv.Rows(0, step.rows());
  ops::Linear(ctx, a.normed.Rows(0, step.rows()), w.kv_down, kv);  // [T, c + r]
  StoreLatents(ctx, c, w, rope, cache, step, kv);
}

void Attention(ExecContext& ctx, const ModelConfig& c, const MlaWeights& w, const ops::RopeTable& rope,
               const ops::LayerCache& cache, const Step& step, int64_t layer, Activations& a,
               ForwardObserver* observer) {
  const int64_t rows = step.rows(), heads = c.num_attention_heads;
  const int64_t n = c.qk_nope_head_dim, qk = c.qk_head_dim();
  const View<float> x = a.normed.Rows(0, rows), q = a.q.Rows(0, rows), kv = a.kv.Rows(0, rows);
  const View<float> out = a.heads.Rows(0, rows);

  if (w.q_down) {
    const View<float> q_latent = a.q_latent.Rows(0, rows);
    const ops::LinearJob down[] = {{x, &*w.q_down, q_latent}, {x, &w.kv_down, kv}};
    ops::Linears(ctx, down);                                          // [T, q_lora], [T, c + r]
    ops::RmsNorm(ctx, q_latent, w.q_norm, kLatentNormEps, q_latent);
    ops::Linear(ctx, q_latent, w.q_up, q);                            // [T, H, n + r]
  } else {
    const ops::LinearJob both[] = {{x, &w.q_up, q}, {x, &w.kv_down, kv}};
    ops::Linears(ctx, both);                                          // [T, H, n + r], [T, c + r]
  }
  ops::Rope(ctx, rope, step.positions.data(), heads, n, qk, q);
  StoreLatents(ctx, c, w, rope, cache, step, kv);

  const float scale = static_cast<float>(c.SoftmaxScale());
  std::vector<ops::Query>& queries = a.queries;
  queries.clear();
  for (const Run& run : step.runs) {
    if (run.role == Run::Role::kPrompt) {
      ops::AttendPrompt(ctx, run, cache, q, w.k_up, w.v_up, scale, out);  // [T, H, v]
    } else {
      for (int64_t i = 0; i < run.count; ++i) queries.push_back({run.first_position + i, run.block_table});
    }
  }
  const int64_t generated = static_cast<int64_t>(queries.size()), first = rows - generated;
  for (int64_t begin = 0; begin < generated; begin += kAbsorbedRows) {
    const int64_t count = std::min(kAbsorbedRows, generated - begin);
    AbsorbedRows(ctx, c, w, cache, std::span(queries).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)),
                 first + begin, a);
  }
  ops::Linear(ctx, out, w.out, a.branch.Rows(0, rows));               // [T, d]

  if (observer) {
    observer->OnTensor("q", layer, q);
    observer->OnTensor("kv", layer, kv);
    observer->OnTensor("attn_heads", layer, out);
    observer->OnTensor("attn_out", layer, a.branch.Rows(0, rows));
  }
}

}  // namespace hadal
