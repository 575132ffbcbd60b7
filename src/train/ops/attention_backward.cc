#include <algorithm>

#include "train/ops/attention_tiles.h"

namespace hadal::train {
namespace {

/// One head's gradients: of the query in place, of key and value in the head's memory.
template <typename T>
class HeadBackward {
 public:
  HeadBackward(const OpContext& ctx, const AttentionShape& shape, const HeadRows<T>& head,
               const int32_t* first, int64_t rows, const BackwardMemory<T>& memory)
      : s_(shape),
        head_(head),
        first_(first),
        rows_(rows),
        m_(memory),
        math_(FormatOf<T>(ctx.gemm->kernels(), ctx.compute)),
        row_(RowsOf<T>(*ctx.rows)) {}

  /// out, dout: [T][v]; lse: [T]; dq: [T][n + r], columns of this head in the whole.
  void Run(View<const T> out, View<const T> lse, View<const T> dout, View<T> dq) {
    PackKeys();
    std::fill_n(m_.dk, rows_ * width(), T{0});
    std::fill_n(m_.dv, rows_ * s_.value, T{0});
    for (int64_t t = 0, count = 0; t < rows_; t += count) {
      count = TileQueries(first_, t, rows_);
      for (int64_t i = 0; i < count; ++i) m_.delta[i] = row_.dot(dout.row(t + i), out.row(t + i), s_.value);
      BackQueries(t, count, lse, dout, dq.row(t), dq.stride);
    }
  }

 private:
  int64_t width() const { return s_.nope + s_.rope; }

  void PackKeys() {
    for (int64_t j = 0; j < KeyTiles(rows_); ++j) {
      const int64_t key = j * kKeyTile, count = std::min(kKeyTile, rows_ - key);
      const PackSource<T> nope = head_.KeyNope(s_, key, count), rope = head_.KeyRope(s_, key, count);
      math_.PackPairB(nope, rope, m_.keys.tile(j));
      math_.PackB({head_.Value(s_, key), head_.kv_stride, count, s_.value, true}, m_.values.tile(j));
      math_.PackB(Transposed(nope), m_.key_nope.tile(j));
      if (s_.rope > 0) math_.PackB(Transposed(rope), m_.key_rope.tile(j));
    }
  }

  void BackQueries(int64_t t, int64_t count, View<const T> lse, View<const T> dout, T* dq,
                   int64_t dq_stride) {
    const Packed query =
        math_.PackPairA(head_.QueryNope(s_, t, count), head_.QueryRope(s_, t, count), m_.query);
    const PackSource<T> dout_rows{dout.row(t), dout.stride, count, s_.value, true};
    const Packed douts = math_.PackA(dout_rows, m_.dout);
    const Packed query_columns =
        math_.PackB({head_.q + t * head_.q_stride, head_.q_stride, width(), count, false}, m_.query_columns);
    const Packed dout_columns = math_.PackB(Transposed(dout_rows), m_.dout_columns);
    // From here on the tile's queries are packed: dq may take their place.
    const int64_t begin = first_[t] / kKeyTile, end = (t + count - 1) / kKeyTile + 1;
    for (int64_t j = begin; j < end; ++j) {
      const int64_t key = j * kKeyTile, keys = std::min({kKeyTile, rows_ - key, t + count - key});
      const int64_t depth = math_.Padded(s_.nope) + s_.rope;
      math_.Multiply(query, {m_.keys.tile(j), math_.PanelBytes(depth)}, count, keys, depth, m_.p, kKeyTile,
                     false);
      math_.Multiply(douts, {m_.values.tile(j), math_.PanelBytes(s_.value)}, count, keys, s_.value, m_.ds,
                     kKeyTile, false);
      for (int64_t i = 0; i < count; ++i)
        ScoreGradients(i, SeenKeys(first_, t + i, key, keys), keys, lse.at(t + i, 0));

      const PackSource<T> p{m_.p, kKeyTile, count, keys, true}, ds{m_.ds, kKeyTile, count, keys, true};
      const Packed p_by_key = math_.PackA(Transposed(p), m_.by_key);
      math_.Multiply(p_by_key, dout_columns, keys, s_.value, count, m_.dv + key * s_.value, s_.value, true);
      const Packed ds_by_key = math_.PackA(Transposed(ds), m_.by_key);
      math_.Multiply(ds_by_key, query_columns, keys, width(), count, m_.dk + key * width(), width(), true);

      const Packed ds_by_query = math_.PackA(ds, m_.by_query);
      const int64_t panel = math_.PanelBytes(std::min(kKeyTile, rows_ - key));
      math_.Multiply(ds_by_query, {m_.key_nope.tile(j), panel}, count, s_.nope, keys, dq, dq_stride,
                     j > begin);
      math_.Multiply(ds_by_query, {m_.key_rope.tile(j), panel}, count, s_.rope, keys, dq + s_.nope, dq_stride,
                     j > begin);
    }
  }

  /// Query i's scores and dout·v of a tile become weights and the scores' gradients.
  void ScoreGradients(int64_t i, Seen seen, int64_t keys, T lse) {
    const int64_t begin = std::min(seen.begin, keys), end = std::max(seen.end, begin);
    row_.attention_ds(static_cast<T>(s_.scale), lse, m_.delta[i], begin, end, keys, m_.p + i * kKeyTile,
                      m_.ds + i * kKeyTile);
  }

  const AttentionShape& s_;
  const HeadRows<T>& head_;
  const int32_t* first_;
  const int64_t rows_;
  const BackwardMemory<T>& m_;
  const TileMath<T> math_;
  const RowKernels<T>& row_;
};

}  // namespace

template <typename T>
void AttentionBackward(const OpContext& ctx, const AttentionShape& s, View<const T> q, View<const T> kv,
                       View<const T> k_pe, const int32_t* first, View<const T> out, View<const T> lse,
                       View<const T> dout, View<T> dq, View<T> dkv, View<T> dk_pe) {
  CheckAttention<T>(ctx, s, q, kv, k_pe, out, lse);
  CheckAttention<T>(ctx, s, dq, dkv, dk_pe, dout, lse);
  const PartClock::Scope scope(ctx.clock, StepPart::kAttention);
  const int64_t width = s.nope + s.rope, rows = q.rows;
  const int64_t element_bytes = ctx.scratch->limits().f64 ? 8 : 4;
  const auto memory = [&](int64_t slot) {
    Carver carver(ctx.scratch->worker(static_cast<int>(slot)), element_bytes);
    return BackwardMemory<T>(carver, rows, s.nope, s.rope, s.value);
  };
  // As many heads at once as there is scratch for; k_pe's gradient is summed between them, heads ascending.
  for (int64_t head = 0; head < s.heads; head += ctx.pool().threads()) {
    const int64_t count = std::min<int64_t>(ctx.pool().threads(), s.heads - head);
    ctx.pool().For(count, [&](int64_t slot, int) {
      const int64_t h = head + slot;
      const BackwardMemory<T> m = memory(slot);
      const HeadRows<T> operands(s, q, kv, k_pe, h);
      HeadBackward<T>(ctx, s, operands, first, rows, m)
          .Run(out.Cols(h * s.value, s.value), lse.Cols(h, 1), dout.Cols(h * s.value, s.value),
               dq.Cols(h * width, width));
    });
    ForRows(ctx, rows, count * (width + s.value), [&](int64_t t) {
      for (int64_t slot = 0; slot < count; ++slot) {
        const BackwardMemory<T> m = memory(slot);
        const T* dk = m.dk + t * width;
        T* target = dkv.row(t) + (head + slot) * (s.nope + s.value);
        std::copy_n(dk, s.nope, target);
        std::copy_n(m.dv + t * s.value, s.value, target + s.nope);
        for (int64_t i = 0; i < s.rope; ++i)
          dk_pe.at(t, i) = (head + slot == 0 ? T{0} : dk_pe.at(t, i)) + dk[s.nope + i];
      }
    });
  }
}

template void AttentionBackward(const OpContext&, const AttentionShape&, View<const float>, View<const float>,
                                View<const float>, const int32_t*, View<const float>, View<const float>,
                                View<const float>, View<float>, View<float>, View<float>);
template void AttentionBackward(const OpContext&, const AttentionShape&, View<const double>,
                                View<const double>, View<const double>, const int32_t*, View<const double>,
                                View<const double>, View<const double>, View<double>, View<double>,
                                View<double>);

}  // namespace hadal::train
