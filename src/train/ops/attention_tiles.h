// What the two directions of attention share: packed pieces of a head, and their products.
#pragma once

#include <algorithm>

#include "base/check.h"
#include "train/ops/attention_memory.h"

namespace hadal::train {

/// Panels of lanes, as kernels/gemm_table.h describes them.
struct Packed {
  std::byte* data = nullptr;
  int64_t panel_bytes = 0;
};

/// Packs and multiplies pieces of one head in one thread.
template <typename T>
class TileMath {
 public:
  explicit TileMath(const GemmFormat<T>& format) : format_(format) {}

  int64_t Padded(int64_t depth) const {
    return (depth + format_.depth_step - 1) / format_.depth_step * format_.depth_step;
  }

  Packed PackA(const PackSource<T>& source, std::byte* to) const {
    const Packed packed{to, PanelBytesA(format_, source.depth)};
    format_.pack_a(source, packed.panel_bytes, to);
    return packed;
  }
  Packed PackB(const PackSource<T>& source, std::byte* to) const {
    const Packed packed{to, PanelBytesB(format_, source.depth)};
    format_.pack_b(source, packed.panel_bytes, to);
    return packed;
  }
  /// Queries (A) and keys (B) with the positions of `one` followed by those of `two`: their depth is
  /// Padded(one.depth) + two.depth.
  Packed PackPairA(const PackSource<T>& one, const PackSource<T>& two, std::byte* to) const {
    const Packed packed{to, PanelBytesA(format_, Padded(one.depth) + two.depth)};
    format_.pack_a(one, packed.panel_bytes, to);
    if (two.depth > 0) format_.pack_a(two, packed.panel_bytes, to + PanelBytesA(format_, one.depth));
    return packed;
  }
  Packed PackPairB(const PackSource<T>& one, const PackSource<T>& two, std::byte* to) const {
    const Packed packed{to, PanelBytesB(format_, Padded(one.depth) + two.depth)};
    format_.pack_b(one, packed.panel_bytes, to);
    if (two.depth > 0) format_.pack_b(two, packed.panel_bytes, to + PanelBytesB(format_, one.depth));
    return packed;
  }

  /// From one panel of B to the next, of that depth.
  int64_t PanelBytes(int64_t depth) const { return PanelBytesB(format_, depth); }

  /// c [m, n] (+)= a b.
  void Multiply(Packed a, Packed b, int64_t m, int64_t n, int64_t depth, T* c, int64_t stride,
                bool accumulate) const {
    if (n > 0)
      format_.multiply({a.data, b.data, m, n, depth, a.panel_bytes, b.panel_bytes, c, stride, accumulate});
  }

 private:
  const GemmFormat<T>& format_;
};

/// One head's operands: pointers to its first row.
template <typename T>
struct HeadRows {
  const T* q;
  int64_t q_stride;
  const T* kv;
  int64_t kv_stride;
  const T* k_pe;
  int64_t pe_stride;

  HeadRows(const AttentionShape& s, View<const T> q, View<const T> kv, View<const T> k_pe, int64_t head)
      : q(q.data + head * (s.nope + s.rope)),
        q_stride(q.stride),
        kv(kv.data + head * (s.nope + s.value)),
        kv_stride(kv.stride),
        k_pe(k_pe.data),
        pe_stride(k_pe.stride) {}

  /// Rows [first, first + count) of the query or key, in two pieces: nope and rope.
  PackSource<T> QueryNope(const AttentionShape& s, int64_t first, int64_t count) const {
    return {q + first * q_stride, q_stride, count, s.nope, true};
  }
  PackSource<T> QueryRope(const AttentionShape& s, int64_t first, int64_t count) const {
    return {q + first * q_stride + s.nope, q_stride, count, s.rope, true};
  }
  PackSource<T> KeyNope(const AttentionShape& s, int64_t first, int64_t count) const {
    return {kv + first * kv_stride, kv_stride, count, s.nope, true};
  }
  PackSource<T> KeyRope(const AttentionShape& s, int64_t first, int64_t count) const {
    return {k_pe + first * pe_stride, pe_stride, count, s.rope, true};
  }
  const T* Value(const AttentionShape& s, int64_t first) const { return kv + first * kv_stride + s.nope; }
};

/// The same source with lanes and depth exchanged: x^T.
template <typename T>
PackSource<T> Transposed(const PackSource<T>& x) {
  return {x.data, x.stride, x.depth, x.lanes, !x.depth_contiguous};
}

/// Queries of the tile that begins at t: of one document, so that its keys are no other's.
inline int64_t TileQueries(const int32_t* first, int64_t t, int64_t rows) {
  const int64_t most = std::min(kQueryTile, rows - t);
  int64_t count = 1;
  while (count < most && first[t + count] == first[t]) ++count;
  return count;
}

/// A tile's keys that query t sees, counted from the tile's first key: [begin, end), empty if begin >= end.
struct Seen {
  int64_t begin, end;
};
inline Seen SeenKeys(const int32_t* first, int64_t t, int64_t key, int64_t count) {
  return {std::max<int64_t>(first[t] - key, 0), std::min(t + 1 - key, count)};
}

template <typename T>
void CheckAttention(const OpContext& ctx, const AttentionShape& s, View<const T> q, View<const T> kv,
                    View<const T> k_pe, View<const T> out, View<const T> lse) {
  const ScratchLimits& l = ctx.scratch->limits();
  HADAL_CHECK(q.cols == s.heads * (s.nope + s.rope) && kv.cols == s.heads * (s.nope + s.value) &&
                  k_pe.cols == s.rope && out.cols == s.heads * s.value && lse.cols == s.heads,
              "{} heads of {} + {} and {}: q {}, kv {}, k_pe {}, out {}, lse {} columns", s.heads, s.nope,
              s.rope, s.value, q.cols, kv.cols, k_pe.cols, out.cols, lse.cols);
  HADAL_CHECK(kv.rows == q.rows && k_pe.rows == q.rows && out.rows == q.rows && lse.rows == q.rows,
              "rows: q {}, kv {}, k_pe {}, out {}, lse {}", q.rows, kv.rows, k_pe.rows, out.rows, lse.rows);
  const int64_t element_bytes = l.f64 ? 8 : 4;
  const GemmFormat<T>& format = FormatOf<T>(ctx.gemm->kernels(), ctx.compute);
  HADAL_CHECK(static_cast<int64_t>(sizeof(T)) <= element_bytes && format.element_bytes <= element_bytes &&
                  format.mr <= 32 && format.nr <= 32 && format.depth_step <= 2,
              "scratch is for elements of {} bytes", element_bytes);
  HADAL_CHECK(
      AttentionScratchBytes(q.rows, s.nope, s.rope, s.value, element_bytes) <= ctx.scratch->worker_bytes(),
      "{} rows of {} + {}, {}: scratch is for {} of {} + {}, {}", q.rows, s.nope, s.rope, s.value, l.rows,
      l.nope, l.rope, l.value);
}

}  // namespace hadal::train
