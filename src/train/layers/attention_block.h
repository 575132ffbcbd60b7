// Multi-head latent attention of one layer, forward and backward (arXiv 2405.04434, section 2.1), its heads
// split over tensor-parallel ranks.
#pragma once

#include "train/layers/arena.h"
#include "train/layers/layer_context.h"
#include "train/layers/parameters.h"

namespace hadal::train {

/// What the backward needs. `kept` of selective checkpointing are the narrow ones; the rest is computed
/// again.
template <typename T>
struct AttentionSaved {
  // Kept.
  View<T> q_latent;  // [T, q_lora], before its norm; no columns where the query is not compressed
  View<T> kv_a;      // [T, c + r]: latent before its norm, k_pe rotated
  View<T> out, lse;  // [T, H v], [T, H]: of this rank's heads
  // Rebuilt.
  View<T> normed, rstd;                // [T, d], [T, 1]: the block's input after its norm
  View<T> q_latent_normed, q_rstd;     // [T, q_lora]
  View<T> kv_latent_normed, kv_rstd;   // [T, c]
  View<T> q, kv;                       // [T, H (n + r)] rotated, [T, H (n + v)]

  void TakeKept(Arena& arena, const ModelConfig& c, int64_t heads, int64_t rows);
  void TakeRebuilt(Arena& arena, const ModelConfig& c, int64_t heads, int64_t rows);
};

/// Scratch of the backward, shared by all layers.
template <typename T>
struct AttentionGradients {
  View<T> out, q, kv;  // [T, H v], [T, H (n + r)], [T, H (n + v)]
  View<T> narrow;      // [T, q_lora + c + r] contiguous: summed over ranks as one
  View<T> k_pe;        // [T, r]
  View<T> kv_a;        // [T, c + r]
  View<T> q_latent;    // [T, q_lora]
  void Take(Arena& arena, const ModelConfig& c, int64_t heads, int64_t rows);
};

/// This rank's heads.
int64_t LocalHeads(const ModelConfig& c, const ProcessMesh& mesh);

/// branch [T, d] = attention(norm(x)), summed over the tensor-parallel ranks.
template <typename T>
Status AttentionBlockForward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                             View<const T> x, AttentionSaved<T>& saved, View<T> branch);
/// Computes the rebuilt part from x and the kept part.
template <typename T>
void AttentionBlockRebuild(const LayerContext<T>& ctx, const LayerParameters<T>& p, View<const T> x,
                           AttentionSaved<T>& saved);
/// dx += the gradient through the block of dbranch [T, d], its norm included; parameters' gradients are
/// added. `dnormed` [T, d] is scratch.
template <typename T>
Status AttentionBlockBackward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                              View<const T> x, const AttentionSaved<T>& saved, View<const T> dbranch,
                              AttentionGradients<T>& grads, View<T> dnormed, View<T> dx);

}  // namespace hadal::train
