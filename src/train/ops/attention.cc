#include "train/ops/attention.h"

#include <cmath>
#include <limits>

#include "train/ops/attention_tiles.h"

namespace hadal::train {
namespace {

/// One head, all rows; see attention.h.
template <typename T>
class HeadForward {
 public:
  HeadForward(const OpContext& ctx, const AttentionShape& shape, const HeadRows<T>& head,
              const int32_t* first, int64_t rows, const ForwardMemory<T>& memory)
      : s_(shape),
        head_(head),
        first_(first),
        rows_(rows),
        m_(memory),
        math_(FormatOf<T>(ctx.gemm->kernels(), ctx.compute)),
        row_(RowsOf<T>(*ctx.rows)) {}

  /// out: [T][v] and lse: [T], of this head, their rows `out_stride` and `lse_stride` apart.
  void Run(T* out, int64_t out_stride, T* lse, int64_t lse_stride) {
    PackKeys();
    for (int64_t t = 0, count = 0; t < rows_; t += count) {
      count = TileQueries(first_, t, rows_);
      AttendQueries(t, count, out + t * out_stride, out_stride);
      for (int64_t i = 0; i < count; ++i) {
        row_.scale(T{1} / m_.sum[i], s_.value, out + (t + i) * out_stride);
        lse[(t + i) * lse_stride] = m_.top[i] + std::log(m_.sum[i]);
      }
    }
  }

 private:
  void PackKeys() {
    for (int64_t j = 0; j < KeyTiles(rows_); ++j) {
      const int64_t key = j * kKeyTile, count = std::min(kKeyTile, rows_ - key);
      math_.PackPairB(head_.KeyNope(s_, key, count), head_.KeyRope(s_, key, count), m_.keys.tile(j));
      math_.PackB({head_.Value(s_, key), head_.kv_stride, s_.value, count, false}, m_.values.tile(j));
    }
  }

  /// Unscaled sums of weighted values of queries [t, t + count), with their maxima and sums of weights.
  void AttendQueries(int64_t t, int64_t count, T* out, int64_t out_stride) {
    const Packed query =
        math_.PackPairA(head_.QueryNope(s_, t, count), head_.QueryRope(s_, t, count), m_.query);
    std::fill_n(m_.top, count, -std::numeric_limits<T>::infinity());
    std::fill_n(m_.sum, count, T{0});
    const int64_t begin = first_[t] / kKeyTile, end = (t + count - 1) / kKeyTile + 1;
    for (int64_t j = begin; j < end; ++j) {
      const int64_t key = j * kKeyTile;
      const int64_t keys = std::min({kKeyTile, rows_ - key, t + count - key});
      const int64_t depth = math_.Padded(s_.nope) + s_.rope;
      math_.Multiply(query, {m_.keys.tile(j), math_.PanelBytes(depth)}, count, keys, depth, m_.scores,
                     kKeyTile, false);
      for (int64_t i = 0; i < count; ++i)
        Softmax(i, SeenKeys(first_, t + i, key, keys), keys, j == begin ? nullptr : out + i * out_stride);
      const Packed weights = math_.PackA({m_.scores, kKeyTile, count, keys, true}, m_.weights);
      math_.Multiply(weights, ValueTile(j), count, s_.value, keys, out, out_stride, j > begin);
    }
  }

  /// The values of a tile; a query tile may use the first of its keys only.
  Packed ValueTile(int64_t j) const {
    return {m_.values.tile(j), math_.PanelBytes(std::min(kKeyTile, rows_ - j * kKeyTile))};
  }

  /// Query i's scores of a tile become weights; what it has summed so far, if anything, is scaled to the new
  /// maximum.
  void Softmax(int64_t i, Seen seen, int64_t keys, T* out) {
    T* scores = m_.scores + i * kKeyTile;
    if (seen.begin >= seen.end) {
      std::fill_n(scores, keys, T{0});
      return;
    }
    const T old = m_.top[i];
    const T sum =
        row_.online_softmax(static_cast<T>(s_.scale), seen.begin, seen.end, keys, scores, &m_.top[i]);
    const T keep = std::exp(old - m_.top[i]);
    m_.sum[i] = m_.sum[i] * keep + sum;
    if (out != nullptr && keep != T{1}) row_.scale(keep, s_.value, out);
  }

  const AttentionShape& s_;
  const HeadRows<T>& head_;
  const int32_t* first_;
  const int64_t rows_;
  const ForwardMemory<T>& m_;
  const TileMath<T> math_;
  const RowKernels<T>& row_;
};

}  // namespace

int64_t AttentionScratchBytes(int64_t rows, int64_t nope, int64_t rope, int64_t value,
                              int64_t element_bytes) {
  Carver forward(nullptr, element_bytes), backward(nullptr, element_bytes);
  ForwardMemory<double>(forward, rows, nope, rope, value);
  BackwardMemory<double>(backward, rows, nope, rope, value);
  return std::max(forward.used(), backward.used());
}

template <typename T>
void AttentionForward(const OpContext& ctx, const AttentionShape& shape, View<const T> q, View<const T> kv,
                      View<const T> k_pe, const int32_t* first, View<T> out, View<T> lse) {
  CheckAttention<T>(ctx, shape, q, kv, k_pe, out, lse);
  const PartClock::Scope scope(ctx.clock, StepPart::kAttention);
  ctx.pool().For(shape.heads, [&](int64_t h, int worker) {
    Carver carver(ctx.scratch->worker(worker), ctx.scratch->limits().f64 ? 8 : 4);
    const ForwardMemory<T> memory(carver, q.rows, shape.nope, shape.rope, shape.value);
    const HeadRows<T> head(shape, q, kv, k_pe, h);
    HeadForward<T>(ctx, shape, head, first, q.rows, memory)
        .Run(out.data + h * shape.value, out.stride, lse.data + h, lse.stride);
  });
}

template void AttentionForward(const OpContext&, const AttentionShape&, View<const float>, View<const float>,
                               View<const float>, const int32_t*, View<float>, View<float>);
template void AttentionForward(const OpContext&, const AttentionShape&, View<const double>,
                               View<const double>, View<const double>, const int32_t*, View<double>,
                               View<double>);

}  // namespace hadal::train
