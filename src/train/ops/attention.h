// The core of multi-head latent attention in its un-absorbed form (arXiv 2405.04434, eq. 16-19), causal,
// without scores in memory (arXiv 2205.14135, 2307.08691).
//
//   s[t, u] = scale (q_nope[t]·k_nope[u] + q_pe[t]·k_pe[u]),  first[t] <= u <= t
//   out[t] = sum_u softmax(s)[t, u] v[u]
#pragma once

#include "train/ops/context.h"

namespace hadal::train {

struct AttentionShape {
  int64_t heads = 0;
  int64_t nope = 0, rope = 0, value = 0;  // widths of a head; rope may be 0
  double scale = 1;                       // ModelConfig::SoftmaxScale()
};

/// Scores and probabilities come in tiles that end with a document at the latest; softmax is taken online.
/// Products round their factors (queries, keys, values, probabilities) as ctx.compute says; sums, maxima and
/// exponentials are in T.
///
/// q: [T, H * (n + r)], each head nope first, rope rotated; kv: [T, H * (n + v)], each head key first; k_pe:
/// [T, r], rotated, shared by the heads. first: [T], the first row that a token may see (its document's),
/// ascending, at most t. out: [T, H * v]; lse: [T, H], log of the sum of exp(s), kept for the backward. NaN
/// or infinity in a row may spoil other rows of its tile, hidden ones included. T, n, r, v within the
/// scratch's limits.
template <typename T>
void AttentionForward(const OpContext& ctx, const AttentionShape& shape, View<const T> q, View<const T> kv,
                      View<const T> k_pe, const int32_t* first, View<T> out, View<T> lse);

/// D = rowsum(dout∘out); P = exp(s - lse); dS = P∘(dout v^T - D) scale; dq = dS k; dk = dS^T q; dv = P^T
/// dout. dout: as out. Sets dq (as q), dkv (as kv) and dk_pe (as k_pe; the sum over heads in ascending
/// order). dq may be q and dkv may not overlap kv. Factors of products (P and dS among them) are rounded as
/// in the forward. Work is cut by heads: H heads keep at most H threads busy.
template <typename T>
void AttentionBackward(const OpContext& ctx, const AttentionShape& shape, View<const T> q, View<const T> kv,
                       View<const T> k_pe, const int32_t* first, View<const T> out, View<const T> lse,
                       View<const T> dout, View<T> dq, View<T> dkv, View<T> dk_pe);

/// Bytes of scratch per worker that both take, T elements being of `element_bytes`.
int64_t AttentionScratchBytes(int64_t rows, int64_t nope, int64_t rope, int64_t value, int64_t element_bytes);

}  // namespace hadal::train
