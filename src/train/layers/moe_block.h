// Mixture of experts of one layer, forward and backward: router, routed experts (spread over expert-parallel
// ranks, their width over tensor-parallel ones) and shared experts (arXiv 2412.19437, section 2.1.2).
#pragma once

#include <memory>

#include "train/layers/expert_exchange.h"
#include "train/layers/network_block.h"

namespace hadal::train {

template <typename T>
struct MoeSaved {
  // Kept.
  View<T> scores, weights;  // [T, E], [T, K]
  View<int32_t> ids;        // [T, K]
  // Rebuilt.
  View<T> copies;             // [MaxRows, d], the experts' inputs in order of expert
  NetworkSaved<T> routed;     // [MaxRows, width]
  View<T> out;                // [T K, d], what each copy became, at its source
  NetworkSaved<T> shared;     // [T, shared width]; none without shared experts
  // The plan of the last forward or rebuild; an owner of several micro-batches rebuilds it from ids.
  void TakeKept(Arena& arena, const ModelConfig& c, int64_t rows);
  void TakeRebuilt(Arena& arena, const ModelConfig& c, const ProcessMesh& mesh, int64_t rows,
                   int64_t max_copies);
};

/// What all MoE layers of a stage share while one of them runs.
template <typename T>
struct MoeWorkspace {
  MoeWorkspace(const ModelConfig& c, const ProcessMesh& mesh, int64_t rows);
  DispatchPlan plan;
  ExpertExchange exchange;
  View<T> send, moved;    // [T K, d], [MaxRows, d]: copies at their source; on their way
  View<T> logits;         // [T, E]
  View<T> dcopies;        // [MaxRows, d]
  View<T> dgate, dup;     // [MaxRows or T, width of the widest]
  View<T> dweights;       // [T, K]
  void Take(Arena& arena, const ModelConfig& c, const ProcessMesh& mesh, int64_t rows);
};

/// branch [T, d] = experts and shared experts of x [T, d] (already normed), summed over the tensor-parallel
/// ranks. `statistics` counts choices and dropped copies.
template <typename T>
Status MoeForward(const LayerContext<T>& ctx, int64_t layer, const MoeParameters<T>& p, View<const T> x,
                  MoeSaved<T>& saved, MoeWorkspace<T>& work, View<T> branch, LayerStatistics& statistics);
/// Computes the rebuilt part from x and the kept part.
template <typename T>
Status MoeRebuild(const LayerContext<T>& ctx, const MoeParameters<T>& p, View<const T> x, MoeSaved<T>& saved,
                  MoeWorkspace<T>& work);
/// dx [T, d] = the gradient of <dbranch, branch> + ctx.balance * balance loss; parameters' gradients are
/// added.
template <typename T>
Status MoeBackward(const LayerContext<T>& ctx, int64_t layer, const MoeParameters<T>& p, View<const T> x,
                   const MoeSaved<T>& saved, MoeWorkspace<T>& work, View<const T> dbranch, View<T> dx,
                   LayerStatistics& statistics);

}  // namespace hadal::train
