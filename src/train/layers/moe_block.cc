#include "train/layers/moe_block.h"

#include <algorithm>
#include <limits>

#include "train/ops/linear.h"
#include "train/ops/router.h"
#include "train/ops/swiglu.h"

namespace hadal::train {
namespace {

template <typename T>
std::span<T> Flat(View<T> x) {
  return {x.data, static_cast<size_t>(x.rows * x.cols)};
}

int64_t LocalWidth(int64_t width, const ProcessMesh& mesh) {
  return PartOf(width, mesh.shape().tensor, mesh.shard()).count;
}

int64_t SharedWidth(const ModelConfig& c, const ProcessMesh& mesh) {
  return LocalWidth(c.n_shared_experts * c.moe_intermediate_size, mesh);
}

template <typename T>
NetworkSaved<T> FirstRows(const NetworkSaved<T>& s, int64_t rows) {
  return {s.gate.Rows(0, rows), s.up.Rows(0, rows), s.hidden.Rows(0, rows)};
}

/// Router logits that are no numbers choose nobody. The step goes on, so that no other rank waits in vain;
/// its loss is no number either, and that is what the trainer acts on.
template <typename T>
void Poison(MoeSaved<T>& s) {
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  std::ranges::fill(Flat(s.scores), kNaN);
  std::ranges::fill(Flat(s.weights), kNaN);
  for (int64_t t = 0; t < s.ids.rows; ++t)
    for (int64_t k = 0; k < s.ids.cols; ++k) s.ids.at(t, k) = static_cast<int32_t>(k);
}

/// Copies to their experts, through these, and back to their source: saved.out.
template <typename T>
Status RunExperts(const LayerContext<T>& ctx, const MoeParameters<T>& p, View<const T> x, MoeSaved<T>& s,
                  MoeWorkspace<T>& work) {
  const OpContext& ops = ctx.ops;
  work.plan.Build(s.ids, ctx.config->expert_capacity);
  RETURN_IF_ERROR(work.exchange.Agree(work.plan));
  const int64_t sent = work.plan.rows(), here = work.exchange.rows();
  const View<T> copies = s.copies.Rows(0, here), out = s.out.Rows(0, sent);
  if (work.exchange.moves()) {
    Gather<T>(ops, work.plan, x, work.send);
    RETURN_IF_ERROR(work.exchange.ToOwners(work.send.Rows(0, sent), work.moved, copies, "tokens to experts"));
  } else {
    Gather<T>(ops, work.plan, x, copies);
  }
  const NetworkSaved<T> routed = FirstRows(s.routed, here);
  const auto offsets = work.exchange.offsets();
  GroupedLinearForward<T>(ops, copies, offsets, p.gate, routed.gate);
  GroupedLinearForward<T>(ops, copies, offsets, p.up, routed.up);
  SwiGluForward<T>(ops, routed.gate, routed.up, routed.hidden);
  if (!work.exchange.moves()) {
    GroupedLinearForward<T>(ops, routed.hidden, offsets, p.down, out);
    return {};
  }
  const View<T> result = work.dcopies.Rows(0, here);
  GroupedLinearForward<T>(ops, routed.hidden, offsets, p.down, result);
  return work.exchange.FromOwners(result, work.moved, out, "tokens from experts");
}

}  // namespace

template <typename T>
void MoeSaved<T>::TakeKept(Arena& arena, const ModelConfig& c, int64_t rows) {
  scores = arena.Take<T>(rows, c.n_routed_experts);
  weights = arena.Take<T>(rows, c.num_experts_per_tok);
  ids = arena.Take<int32_t>(rows, c.num_experts_per_tok);
}

template <typename T>
void MoeSaved<T>::TakeRebuilt(Arena& arena, const ModelConfig& c, const ProcessMesh& mesh, int64_t rows,
                              int64_t max_copies) {
  copies = arena.Take<T>(max_copies, c.hidden_size);
  routed.Take(arena, LocalWidth(c.moe_intermediate_size, mesh), max_copies);
  out = arena.Take<T>(rows * c.num_experts_per_tok, c.hidden_size);
  if (c.n_shared_experts > 0) shared.Take(arena, SharedWidth(c, mesh), rows);
}

template <typename T>
MoeWorkspace<T>::MoeWorkspace(const ModelConfig& c, const ProcessMesh& mesh, int64_t rows)
    : plan(rows, c.num_experts_per_tok, c.n_routed_experts),
      exchange(mesh.expert(), rows, c.num_experts_per_tok, c.n_routed_experts) {}

template <typename T>
void MoeWorkspace<T>::Take(Arena& arena, const ModelConfig& c, const ProcessMesh& mesh, int64_t rows) {
  const int64_t max = exchange.MaxRows(), copies = rows * c.num_experts_per_tok;
  if (exchange.moves()) {
    send = arena.Take<T>(copies, c.hidden_size);
    moved = arena.Take<T>(max, c.hidden_size);
  }
  logits = arena.Take<T>(rows, c.n_routed_experts);
  dcopies = arena.Take<T>(std::max(max, copies), c.hidden_size);
  // The same memory serves the routed experts' rows and, wider and fewer, the shared ones'.
  const int64_t routed = max * LocalWidth(c.moe_intermediate_size, mesh),
                shared = rows * SharedWidth(c, mesh);
  dgate = arena.Take<T>(1, std::max(routed, shared));
  dup = arena.Take<T>(1, std::max(routed, shared));
  dweights = arena.Take<T>(rows, c.num_experts_per_tok);
}

template <typename T>
Status MoeForward(const LayerContext<T>& ctx, int64_t layer, const MoeParameters<T>& p, View<const T> x,
                  MoeSaved<T>& s, MoeWorkspace<T>& work, View<T> branch, LayerStatistics& statistics) {
  const PartClock::Scope scope(ctx.ops.clock, StepPart::kExperts);
  const View<T> logits = work.logits;
  LinearForward<T>(ctx.ops.Exact(), x, p.router.weight(), logits);
  ctx.See("router logits", layer, logits);
  if (!RouterForward<T>(ctx.ops, *ctx.config, logits, p.bias, s.ids, s.weights, s.scores)) Poison(s);
  CountChoices(s.ids, statistics.choices);
  RETURN_IF_ERROR(RunExperts(ctx, p, x, s, work));
  statistics.dropped += work.plan.dropped();
  ctx.See("experts", layer, s.out.Rows(0, work.plan.rows()));
  Combine<T>(ctx.ops, work.plan, s.out, s.weights, branch, false);
  if (p.shared) {
    NetworkExpand<T>(ctx.ops, *p.shared, x, s.shared);
    const View<T> shared = work.dcopies.Rows(0, x.rows);
    LinearForward<T>(ctx.ops, s.shared.hidden, p.shared->down.weight(), shared);
    Add<T>(ctx.ops, shared, branch);
  }
  RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(Flat(branch), "network output"));
  ctx.See("network output", layer, branch);
  return {};
}

template <typename T>
Status MoeRebuild(const LayerContext<T>& ctx, const MoeParameters<T>& p, View<const T> x, MoeSaved<T>& s,
                  MoeWorkspace<T>& work) {
  const PartClock::Scope scope(ctx.ops.clock, StepPart::kExperts);
  RETURN_IF_ERROR(RunExperts(ctx, p, x, s, work));
  if (p.shared) NetworkExpand<T>(ctx.ops, *p.shared, x, s.shared);
  return {};
}

template <typename T>
Status MoeBackward(const LayerContext<T>& ctx, int64_t layer, const MoeParameters<T>& p, View<const T> x,
                   const MoeSaved<T>& s, MoeWorkspace<T>& work, View<const T> dbranch, View<T> dx,
                   LayerStatistics& statistics) {
  const PartClock::Scope scope(ctx.ops.clock, StepPart::kExperts);
  const OpContext& ops = ctx.ops;
  work.plan.Build(s.ids, ctx.config->expert_capacity);
  RETURN_IF_ERROR(work.exchange.Agree(work.plan));
  const int64_t sent = work.plan.rows(), here = work.exchange.rows();
  const auto offsets = work.exchange.offsets();
  const bool moves = work.exchange.moves();

  // Through the combination: gradients of what each copy became, and of the weights.
  const View<T> dweights = work.dweights;
  const View<T> dout = work.dcopies.Rows(0, here);
  if (moves) {
    CombineBackward<T>(ops, work.plan, dbranch, s.out, s.weights, work.send, dweights);
    RETURN_IF_ERROR(
        work.exchange.ToOwners(work.send.Rows(0, sent), work.moved, dout, "gradients to experts"));
  } else {
    CombineBackward<T>(ops, work.plan, dbranch, s.out, s.weights, dout, dweights);
  }
  RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(Flat(dweights), "gradients of routing weights"));
  ctx.SeeGradient("routing weights", layer, dweights);
  ctx.SeeGradient("experts", layer, dout);

  // Through the experts.
  const NetworkSaved<T> routed = FirstRows(s.routed, here);
  const View<T> dgate(work.dgate.data, here, routed.gate.cols), dup(work.dup.data, here, routed.up.cols);
  GroupedLinearBackwardInput<T>(ops, dout, offsets, p.down, dgate, false);
  GroupedLinearBackwardWeight<T>(ops, dout, routed.hidden, offsets, p.down_grad);
  SwiGluBackward<T>(ops, dgate, routed.gate, routed.up, dgate, dup);
  ctx.SeeGradient("the experts' gates", layer, dgate);
  const View<T> dcopies = dout;  // no longer needed
  GroupedLinearBackwardInput<T>(ops, dgate, offsets, p.gate, dcopies, false);
  GroupedLinearBackwardInput<T>(ops, dup, offsets, p.up, dcopies, true);
  const View<T> copies = s.copies.Rows(0, here);
  GroupedLinearBackwardWeight<T>(ops, dgate, copies, offsets, p.gate_grad);
  GroupedLinearBackwardWeight<T>(ops, dup, copies, offsets, p.up_grad);
  if (moves) {
    RETURN_IF_ERROR(
        work.exchange.FromOwners(dcopies, work.moved, work.send.Rows(0, sent), "gradients from experts"));
    GatherBackward<T>(ops, work.plan, work.send, dx, false);
  } else {
    GatherBackward<T>(ops, work.plan, dcopies, dx, false);
  }
  if (p.shared) {
    const int64_t width = s.shared.gate.cols;
    NetworkBackward<T>(ops, *p.shared, x, s.shared, dbranch, View<T>(work.dgate.data, x.rows, width),
                       View<T>(work.dup.data, x.rows, width), dx, true);
  }
  RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(Flat(dx), "gradients of the network's input"));

  // The router is whole on every rank.
  const View<T> dlogits = work.logits;
  std::fill_n(dlogits.data, dlogits.rows * dlogits.cols, T{});
  RouterBackward<T>(ops, *ctx.config, s.scores, s.ids, dweights, dlogits);
  if (ctx.balance != 0)
    statistics.balance_loss +=
        SequenceBalance<T>(ops, *ctx.config, ctx.balance, ctx.batch->bounds, s.scores, s.ids, dlogits);
  ctx.SeeGradient("router logits", layer, dlogits);
  LinearBackwardInput<T>(ops.Exact(), dlogits, p.router.weight(), dx, true);
  LinearBackwardWeight<T>(ops.Exact(), dlogits, x, p.router.grad);
  return {};
}

#define HADAL_INSTANTIATE(T)                                                                              \
  template struct MoeSaved<T>;                                                                            \
  template struct MoeWorkspace<T>;                                                                        \
  template Status MoeForward<T>(const LayerContext<T>&, int64_t, const MoeParameters<T>&, View<const T>,  \
                                MoeSaved<T>&, MoeWorkspace<T>&, View<T>, LayerStatistics&);               \
  template Status MoeRebuild<T>(const LayerContext<T>&, const MoeParameters<T>&, View<const T>,           \
                                MoeSaved<T>&, MoeWorkspace<T>&);                                          \
  template Status MoeBackward<T>(const LayerContext<T>&, int64_t, const MoeParameters<T>&, View<const T>, \
                                 const MoeSaved<T>&, MoeWorkspace<T>&, View<const T>, View<T>,            \
                                 LayerStatistics&);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
