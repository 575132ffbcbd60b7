#include "train/layers/layer.h"

#include <algorithm>

#include "train/ops/linear.h"
#include "train/ops/rms_norm.h"
#include "train/ops/swiglu.h"

namespace hadal::train {
namespace {

template <typename T>
void Copy(const OpContext& ops, View<const T> from, View<T> to) {
  ForRows(ops, from.rows, from.cols, [&](int64_t t) { std::copy_n(from.row(t), from.cols, to.row(t)); });
}

/// The parts of `saved` where this mode has them: what is kept is the slot's, what is rebuilt is shared.
template <typename T>
LayerSaved<T> Assemble(Checkpointing mode, const LayerSaved<T>& kept, LayerWorkspace<T>& work, bool experts) {
  if (mode == Checkpointing::kNone) return kept;
  LayerSaved<T> all = work.rebuilt[experts];
  all.x = kept.x;
  if (mode == Checkpointing::kFull) return all;
  all.mid = kept.mid;
  all.attention.q_latent = kept.attention.q_latent;
  all.attention.kv_a = kept.attention.kv_a;
  all.attention.out = kept.attention.out;
  all.attention.lse = kept.attention.lse;
  if (experts) {
    all.moe->scores = kept.moe->scores;
    all.moe->weights = kept.moe->weights;
    all.moe->ids = kept.moe->ids;
  }
  return all;
}

/// mid = x + attention.
template <typename T>
Status AttentionHalf(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p, LayerSaved<T>& s,
                     LayerWorkspace<T>& work) {
  const View<T> branch = work.branch;
  RETURN_IF_ERROR(AttentionBlockForward<T>(ctx, layer, p, s.x, s.attention, branch));
  Copy<T>(ctx.ops, s.x, s.mid);
  Add<T>(ctx.ops, branch, s.mid);
  return {};
}

template <typename T>
void NormHalf(const LayerContext<T>& ctx, const LayerParameters<T>& p, LayerSaved<T>& s) {
  RmsNormForward<T>(ctx.ops, s.mid, p.network_norm.gain(), ctx.config->rms_norm_eps, s.normed, s.rstd.data);
}

/// Computes what the mode did not keep, into the shared memory behind `s`.
template <typename T>
Status Rebuild(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p, Checkpointing mode,
               LayerSaved<T>& s, LayerWorkspace<T>& work) {
  LayerContext<T> quiet = ctx;
  quiet.probe = nullptr;
  if (mode == Checkpointing::kFull) {
    RETURN_IF_ERROR(AttentionHalf(quiet, layer, p, s, work));
    NormHalf(quiet, p, s);
    if (p.dense) {
      NetworkExpand<T>(ctx.ops, *p.dense, s.normed, *s.dense);
      return {};
    }
    LayerStatistics counted{.choices =
                                std::vector<int64_t>(static_cast<size_t>(ctx.config->n_routed_experts))};
    return MoeForward<T>(quiet, layer, *p.moe, s.normed, *s.moe, *work.moe, work.branch, counted);
  }
  AttentionBlockRebuild<T>(quiet, p, s.x, s.attention);
  NormHalf(quiet, p, s);
  if (p.moe) return MoeRebuild<T>(quiet, *p.moe, s.normed, *s.moe, *work.moe);
  NetworkExpand<T>(ctx.ops, *p.dense, s.normed, *s.dense);
  return {};
}

}  // namespace

template <typename T>
LayerMemory<T>::LayerMemory(const ModelConfig& config, const ProcessMesh& mesh, int64_t rows,
                            Checkpointing mode)
    : config_(config), mesh_(mesh), rows_(rows), heads_(LocalHeads(config, mesh)), mode_(mode) {}

template <typename T>
void LayerMemory<T>::TakeKept(Arena& arena, bool experts, LayerSaved<T>& s) const {
  s.mid = arena.Take<T>(rows_, config_.hidden_size);
  s.attention.TakeKept(arena, config_, heads_, rows_);
  if (experts) {
    if (!s.moe) s.moe.emplace();
    s.moe->TakeKept(arena, config_, rows_);
  }
}

template <typename T>
void LayerMemory<T>::TakeRebuilt(Arena& arena, bool experts, LayerSaved<T>& s) const {
  s.normed = arena.Take<T>(rows_, config_.hidden_size);
  s.rstd = arena.Take<T>(rows_, 1);
  s.attention.TakeRebuilt(arena, config_, heads_, rows_);
  if (experts) {
    if (!s.moe) s.moe.emplace();
    const ExpertExchange exchange(mesh_.expert(), rows_, config_.num_experts_per_tok,
                                  config_.n_routed_experts);
    s.moe->TakeRebuilt(arena, config_, mesh_, rows_, exchange.MaxRows());
  } else {
    s.dense.emplace().Take(
        arena, PartOf(config_.intermediate_size, mesh_.shape().tensor, mesh_.shard()).count, rows_);
  }
}

template <typename T>
LayerSaved<T> LayerMemory<T>::TakeSaved(Arena& arena, int64_t layer) const {
  LayerSaved<T> saved;
  const bool experts = config_.IsMoeLayer(layer);
  if (mode_ != Checkpointing::kFull) TakeKept(arena, experts, saved);
  if (mode_ == Checkpointing::kNone) TakeRebuilt(arena, experts, saved);
  return saved;
}

template <typename T>
LayerSaved<T> LayerMemory<T>::TakeWhole(Arena& arena, int64_t layer) const {
  LayerSaved<T> saved;
  TakeKept(arena, config_.IsMoeLayer(layer), saved);
  TakeRebuilt(arena, config_.IsMoeLayer(layer), saved);
  return saved;
}

template <typename T>
LayerWorkspace<T> LayerMemory<T>::TakeWorkspace(Arena& arena, std::span<const int64_t> layers) const {
  LayerWorkspace<T> work;
  work.branch = arena.Take<T>(rows_, config_.hidden_size);
  work.dnormed = arena.Take<T>(rows_, config_.hidden_size);
  work.attention.Take(arena, config_, heads_, rows_);
  bool kinds[2] = {};
  for (const int64_t layer : layers) kinds[config_.IsMoeLayer(layer)] = true;
  if (kinds[0]) {
    const int64_t width = PartOf(config_.intermediate_size, mesh_.shape().tensor, mesh_.shard()).count;
    work.dgate = arena.Take<T>(rows_, width);
    work.dup = arena.Take<T>(rows_, width);
  }
  if (kinds[1]) work.moe.emplace(config_, mesh_, rows_).Take(arena, config_, mesh_, rows_);
  for (int kind = 0; kind < 2; ++kind) {
    if (!kinds[kind] || mode_ == Checkpointing::kNone) continue;
    if (mode_ == Checkpointing::kFull) TakeKept(arena, kind == 1, work.rebuilt[kind]);
    TakeRebuilt(arena, kind == 1, work.rebuilt[kind]);
  }
  return work;
}

template <typename T>
Status LayerForward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                    Checkpointing mode, LayerSaved<T>& saved, LayerWorkspace<T>& work, View<T> out,
                    LayerStatistics& statistics) {
  LayerSaved<T> s = Assemble(mode, saved, work, p.moe.has_value());
  RETURN_IF_ERROR(AttentionHalf(ctx, layer, p, s, work));
  NormHalf(ctx, p, s);
  ctx.See("network norm", layer, s.normed);
  const View<T> branch = work.branch;
  if (p.moe) {
    RETURN_IF_ERROR(MoeForward<T>(ctx, layer, *p.moe, s.normed, *s.moe, *work.moe, branch, statistics));
  } else {
    NetworkExpand<T>(ctx.ops, *p.dense, s.normed, *s.dense);
    LinearForward<T>(ctx.ops, s.dense->hidden, p.dense->down.weight(), branch);
    RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(
        std::span(branch.data, static_cast<size_t>(branch.rows * branch.cols)), "network output"));
    ctx.See("network output", layer, branch);
  }
  Copy<T>(ctx.ops, s.mid, out);
  Add<T>(ctx.ops, branch, out);
  ctx.See("layer output", layer, out);
  return {};
}

template <typename T>
Status LayerBackward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                     Checkpointing mode, LayerSaved<T>& saved, LayerWorkspace<T>& work, View<T> d,
                     LayerStatistics& statistics) {
  LayerSaved<T> s = Assemble(mode, saved, work, p.moe.has_value());
  if (mode != Checkpointing::kNone) RETURN_IF_ERROR(Rebuild(ctx, layer, p, mode, s, work));
  const View<T> dnormed = work.dnormed;
  if (p.moe) {
    RETURN_IF_ERROR(MoeBackward<T>(ctx, layer, *p.moe, s.normed, *s.moe, *work.moe, d, dnormed, statistics));
  } else {
    NetworkBackward<T>(ctx.ops, *p.dense, s.normed, *s.dense, d, work.dgate, work.dup,
                       dnormed, false);
    RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(
        std::span(dnormed.data, static_cast<size_t>(d.rows * d.cols)), "gradients of the network's input"));
  }
  ctx.SeeGradient("network norm", layer, dnormed);
  RmsNormBackward<T>(ctx.ops, dnormed, s.mid, p.network_norm.gain(), s.rstd.data, d, true,
                     p.network_norm.grad.data);
  // d is now the gradient of mid: of the attention's branch, and of x beside it.
  ctx.SeeGradient("attention output", layer, d);
  RETURN_IF_ERROR(AttentionBlockBackward<T>(ctx, layer, p, s.x, s.attention, d, work.attention, dnormed, d));
  ctx.SeeGradient("layer input", layer, d);
  return {};
}

#define HADAL_INSTANTIATE(T)                                                                                 \
  template class LayerMemory<T>;                                                                             \
  template Status LayerForward<T>(const LayerContext<T>&, int64_t, const LayerParameters<T>&, Checkpointing, \
                                  LayerSaved<T>&, LayerWorkspace<T>&, View<T>, LayerStatistics&);            \
  template Status LayerBackward<T>(const LayerContext<T>&, int64_t, const LayerParameters<T>&,               \
                                   Checkpointing, LayerSaved<T>&, LayerWorkspace<T>&, View<T>,               \
                                   LayerStatistics&);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
