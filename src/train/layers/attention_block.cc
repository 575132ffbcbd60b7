#include "train/layers/attention_block.h"

#include "train/ops/attention.h"
#include "train/ops/linear.h"
#include "train/ops/rms_norm.h"
#include "train/ops/swiglu.h"

namespace hadal::train {
namespace {

// As serving has it: model/attention.cc.
constexpr double kLatentNormEps = 1e-6;

template <typename T>
AttentionShape ShapeOf(const LayerContext<T>& ctx) {
  const ModelConfig& c = *ctx.config;
  return {.heads = LocalHeads(c, *ctx.mesh),
          .nope = c.qk_nope_head_dim,
          .rope = c.qk_rope_head_dim,
          .value = c.v_head_dim,
          .scale = c.SoftmaxScale()};
}

template <typename T>
void RotateQueries(const LayerContext<T>& ctx, Turn turn, View<T> q) {
  const AttentionShape s = ShapeOf(ctx);
  Rotate(ctx.ops, *ctx.rope, ctx.batch->positions.data(), s.heads, s.nope, s.nope + s.rope, turn, q);
}

template <typename T>
void RotateKey(const LayerContext<T>& ctx, Turn turn, View<T> k_pe) {
  Rotate(ctx.ops, *ctx.rope, ctx.batch->positions.data(), 1, 0, k_pe.cols, turn, k_pe);
}

/// Latents before their norms, and the shared key.
template <typename T>
void Compress(const LayerContext<T>& ctx, const AttentionParameters<T>& p, AttentionSaved<T>& s) {
  if (p.q_a) LinearForward<T>(ctx.ops, s.normed, p.q_a->weight(), s.q_latent);
  LinearForward<T>(ctx.ops, s.normed, p.kv_a.weight(), s.kv_a);
  const int64_t c = ctx.config->kv_lora_rank;
  RotateKey(ctx, Turn::kForward, s.kv_a.Cols(c, ctx.config->qk_rope_head_dim));
}

/// Queries, keys and values of this rank's heads from the latents.
template <typename T>
void Expand(const LayerContext<T>& ctx, const AttentionParameters<T>& p, AttentionSaved<T>& s) {
  if (p.q_a) {
    RmsNormForward<T>(ctx.ops, s.q_latent, p.q_a_norm->gain(), kLatentNormEps, s.q_latent_normed,
                      s.q_rstd.data);
    LinearForward<T>(ctx.ops, s.q_latent_normed, p.q_b.weight(), s.q);
  } else {
    LinearForward<T>(ctx.ops, s.normed, p.q_b.weight(), s.q);
  }
  RotateQueries(ctx, Turn::kForward, s.q);
  RmsNormForward<T>(ctx.ops, s.kv_a.Cols(0, ctx.config->kv_lora_rank), p.kv_a_norm.gain(), kLatentNormEps,
                    s.kv_latent_normed, s.kv_rstd.data);
  LinearForward<T>(ctx.ops, s.kv_latent_normed, p.kv_b.weight(), s.kv);
}

template <typename T>
std::span<T> Flat(View<T> x) {
  return {x.data, static_cast<size_t>(x.rows * x.cols)};
}

}  // namespace

int64_t LocalHeads(const ModelConfig& c, const ProcessMesh& mesh) {
  return PartOf(c.num_attention_heads, mesh.shape().tensor, mesh.shard()).count;
}

template <typename T>
void AttentionSaved<T>::TakeKept(Arena& arena, const ModelConfig& c, int64_t heads, int64_t rows) {
  q_latent = arena.Take<T>(rows, c.q_lora_rank);
  kv_a = arena.Take<T>(rows, c.latent_dim());
  out = arena.Take<T>(rows, heads * c.v_head_dim);
  lse = arena.Take<T>(rows, heads);
}

template <typename T>
void AttentionSaved<T>::TakeRebuilt(Arena& arena, const ModelConfig& c, int64_t heads, int64_t rows) {
  normed = arena.Take<T>(rows, c.hidden_size);
  rstd = arena.Take<T>(rows, 1);
  q_latent_normed = arena.Take<T>(rows, c.q_lora_rank);
  q_rstd = arena.Take<T>(rows, 1);
  kv_latent_normed = arena.Take<T>(rows, c.kv_lora_rank);
  kv_rstd = arena.Take<T>(rows, 1);
  q = arena.Take<T>(rows, heads * c.qk_head_dim());
  kv = arena.Take<T>(rows, heads * (c.qk_nope_head_dim + c.v_head_dim));
}

template <typename T>
void AttentionGradients<T>::Take(Arena& arena, const ModelConfig& c, int64_t heads, int64_t rows) {
  out = arena.Take<T>(rows, heads * c.v_head_dim);
  q = arena.Take<T>(rows, heads * c.qk_head_dim());
  kv = arena.Take<T>(rows, heads * (c.qk_nope_head_dim + c.v_head_dim));
  narrow = arena.Take<T>(rows, c.q_lora_rank + c.latent_dim());
  k_pe = arena.Take<T>(rows, c.qk_rope_head_dim);
  kv_a = arena.Take<T>(rows, c.latent_dim());
  q_latent = arena.Take<T>(rows, c.q_lora_rank);
}

template <typename T>
Status AttentionBlockForward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                             View<const T> x, AttentionSaved<T>& s, View<T> branch) {
  const AttentionParameters<T>& w = p.attention;
  RmsNormForward<T>(ctx.ops, x, p.attention_norm.gain(), ctx.config->rms_norm_eps, s.normed, s.rstd.data);
  ctx.See("attention norm", layer, s.normed);
  Compress(ctx, w, s);
  ctx.See("attention latent", layer, s.kv_a);
  Expand(ctx, w, s);
  ctx.See("queries", layer, s.q);
  ctx.See("keys and values", layer, s.kv);
  AttentionForward<T>(ctx.ops, ShapeOf(ctx), s.q, s.kv,
                      s.kv_a.Cols(ctx.config->kv_lora_rank, ctx.config->qk_rope_head_dim),
                      ctx.batch->first.data(), s.out, s.lse);
  ctx.See("attention", layer, s.out);
  LinearForward<T>(ctx.ops, s.out, w.o.weight(), branch);
  RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(Flat(branch), "attention output"));
  ctx.See("attention output", layer, branch);
  return {};
}

template <typename T>
void AttentionBlockRebuild(const LayerContext<T>& ctx, const LayerParameters<T>& p, View<const T> x,
                           AttentionSaved<T>& s) {
  RmsNormForward<T>(ctx.ops, x, p.attention_norm.gain(), ctx.config->rms_norm_eps, s.normed, s.rstd.data);
  Expand(ctx, p.attention, s);
}

template <typename T>
Status AttentionBlockBackward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                              View<const T> x, const AttentionSaved<T>& s, View<const T> dbranch,
                              AttentionGradients<T>& g, View<T> dnormed, View<T> dx) {
  const ModelConfig& c = *ctx.config;
  const AttentionParameters<T>& w = p.attention;
  const int64_t latent = c.kv_lora_rank, rope = c.qk_rope_head_dim, q_lora = c.q_lora_rank;
  LinearBackwardInput<T>(ctx.ops, dbranch, w.o.weight(), g.out, false);
  LinearBackwardWeight<T>(ctx.ops, dbranch, s.out, w.o.grad);
  ctx.SeeGradient("attention", layer, g.out);
  AttentionBackward<T>(ctx.ops, ShapeOf(ctx), s.q, s.kv, s.kv_a.Cols(latent, rope), ctx.batch->first.data(),
                       s.out, s.lse, g.out, g.q, g.kv, g.k_pe);
  RotateQueries(ctx, Turn::kBackward, g.q);
  ctx.SeeGradient("queries", layer, g.q);
  ctx.SeeGradient("keys and values", layer, g.kv);

  // What every rank needs whole: the gradients of the latents and of the shared key.
  const View<T> dq_latent = g.narrow.Cols(0, q_lora), dkv_latent = g.narrow.Cols(q_lora, latent);
  const View<T> dk_pe = g.narrow.Cols(q_lora + latent, rope);
  LinearBackwardInput<T>(ctx.ops, g.kv, w.kv_b.weight(), dkv_latent, false);
  LinearBackwardWeight<T>(ctx.ops, g.kv, s.kv_latent_normed, w.kv_b.grad);
  if (w.q_a) {
    LinearBackwardInput<T>(ctx.ops, g.q, w.q_b.weight(), dq_latent, false);
    LinearBackwardWeight<T>(ctx.ops, g.q, s.q_latent_normed, w.q_b.grad);
  } else {
    LinearBackwardInput<T>(ctx.ops, g.q, w.q_b.weight(), dnormed, false);
    LinearBackwardWeight<T>(ctx.ops, g.q, s.normed, w.q_b.grad);
    RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(Flat(dnormed), "query gradients"));
  }
  for (int64_t t = 0; t < x.rows; ++t) std::copy_n(g.k_pe.row(t), rope, dk_pe.row(t));
  RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(Flat(g.narrow), "latent gradients"));
  ctx.SeeGradient("attention latent", layer,
                  g.narrow.Cols(w.q_a ? 0 : q_lora, g.narrow.cols - (w.q_a ? 0 : q_lora)));

  if (w.q_a) {
    RmsNormBackward<T>(ctx.ops, dq_latent, s.q_latent, w.q_a_norm->gain(), s.q_rstd.data, g.q_latent, false,
                       w.q_a_norm->grad.data);
    LinearBackwardInput<T>(ctx.ops, g.q_latent, w.q_a->weight(), dnormed, false);
    LinearBackwardWeight<T>(ctx.ops, g.q_latent, s.normed, w.q_a->grad);
  }
  RmsNormBackward<T>(ctx.ops, dkv_latent, s.kv_a.Cols(0, latent), w.kv_a_norm.gain(), s.kv_rstd.data,
                     g.kv_a.Cols(0, latent), false, w.kv_a_norm.grad.data);
  const View<T> dk = g.kv_a.Cols(latent, rope);
  for (int64_t t = 0; t < x.rows; ++t) std::copy_n(dk_pe.row(t), rope, dk.row(t));
  RotateKey(ctx, Turn::kBackward, dk);
  LinearBackwardInput<T>(ctx.ops, g.kv_a, w.kv_a.weight(), dnormed, true);
  LinearBackwardWeight<T>(ctx.ops, g.kv_a, s.normed, w.kv_a.grad);
  ctx.SeeGradient("attention norm", layer, dnormed);
  RmsNormBackward<T>(ctx.ops, dnormed, x, p.attention_norm.gain(), s.rstd.data, dx, true,
                     p.attention_norm.grad.data);
  return {};
}

#define HADAL_INSTANTIATE(T)                                                                               \
  template struct AttentionSaved<T>;                                                                       \
  template struct AttentionGradients<T>;                                                                   \
  template Status AttentionBlockForward<T>(const LayerContext<T>&, int64_t, const LayerParameters<T>&,     \
                                           View<const T>, AttentionSaved<T>&, View<T>);                    \
  template void AttentionBlockRebuild<T>(const LayerContext<T>&, const LayerParameters<T>&, View<const T>, \
                                         AttentionSaved<T>&);                                              \
  template Status AttentionBlockBackward<T>(const LayerContext<T>&, int64_t, const LayerParameters<T>&,    \
                                            View<const T>, const AttentionSaved<T>&, View<const T>,        \
                                            AttentionGradients<T>&, View<T>, View<T>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
