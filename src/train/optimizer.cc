#include "train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "tensor/dtype.h"

namespace hadal::train {
namespace {

// Elements of each rank that travel at once where gradients are compressed.
constexpr int64_t kWireElements = 1 << 17;

uint16_t Encode(GradientCompression c, float x) {
  return c == GradientCompression::kBF16 ? ToBF16(x).bits : ToF16(x).bits;
}
float Decode(GradientCompression c, uint16_t bits) {
  return c == GradientCompression::kBF16 ? ToFloat(bf16{bits}) : ToFloat(f16{bits});
}

template <typename T>
int64_t PieceSize(const typename ShardSet<T>::Group& group) {
  return static_cast<int64_t>(group.values.size()) / group.replicas->size();
}

}  // namespace

template <typename T>
AdamW<T>::AdamW(ShardSet<T>& params, const ProcessMesh& mesh, const AdamWOptions& options,
                GradientCompression compression)
    : params_(params), mesh_(mesh), options_(options), compression_(compression) {}

template <typename T>
uint64_t AdamW<T>::PlannedBytes(const std::vector<Shard>& shards, const ProcessMesh& mesh,
                                GradientCompression compression) {
  const int ranks = std::max(mesh.data().size(), mesh.expert_data().size());
  const int64_t pieces = GroupElements(shards, false, mesh) / mesh.data().size() +
                         GroupElements(shards, true, mesh) / mesh.expert_data().size();
  const uint64_t wire = compression == GradientCompression::kNone ? 0 : 2 * sizeof(uint16_t) * kWireElements * ranks;
  return 3 * sizeof(T) * static_cast<uint64_t>(pieces) + wire;
}

template <typename T>
Result<std::unique_ptr<AdamW<T>>> AdamW<T>::Create(ShardSet<T>& params, const ProcessMesh& mesh,
                                                   const AdamWOptions& options, GradientCompression compression) {
  if (!(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1))
    return InvalidArgument("betas of AdamW are {} and {}, expected 0 to below 1", options.beta1, options.beta2);
  if (!(options.epsilon > 0) || !(options.weight_decay >= 0) || !(options.clip_norm >= 0))
    return InvalidArgument("AdamW with epsilon {}, weight decay {} and clip norm {}; none may be negative, epsilon not 0",
                           options.epsilon, options.weight_decay, options.clip_norm);
  std::unique_ptr<AdamW> made(new AdamW(params, mesh, options, compression));
  const int64_t dense = PieceSize<T>(params.dense()), experts = PieceSize<T>(params.experts());
  ASSIGN_OR_RETURN(made->memory_, Buffer<T>::Allocate(3 * (dense + experts), "optimizer"));
  const uint64_t state = 3 * sizeof(T) * static_cast<uint64_t>(dense + experts);
  ASSIGN_OR_RETURN(made->wire_, ByteBuffer::Allocate(PlannedBytes(params.shards(), mesh, compression) - state,
                                                      "compressed gradients"));
  RETURN_IF_ERROR(made->Place(params.dense(), false, made->memory_.data()));
  RETURN_IF_ERROR(made->Place(params.experts(), true, made->memory_.data() + 3 * dense));
  made->squares_.resize(std::max(made->dense_runs_.size(), made->expert_runs_.size()));
  return made;
}

template <typename T>
Status AdamW<T>::Place(typename ShardSet<T>::Group group, bool experts, T* memory) {
  const int64_t n = PieceSize<T>(group);
  const auto size = static_cast<size_t>(n);
  Piece& piece = experts ? experts_ : dense_;
  piece = {group, group.replicas->rank() * n, {memory, size}, {memory + n, size}};
  (experts ? expert_sum_ : dense_sum_) = {memory + 2 * n, size};
  std::vector<Run>& runs = experts ? expert_runs_ : dense_runs_;
  int64_t at = 0;  // in the group
  for (const Shard& s : params_.shards()) {
    if (s.expert != experts) continue;
    const int64_t begin = std::max(at, piece.first), end = std::min(at + s.elements(), piece.first + n);
    at += s.elements();
    if (begin >= end) continue;
    const bool counts = !s.copy && (!s.replicated || mesh_.shard() == 0);
    for (int64_t run = begin; run < end; run += kRunElements)
      runs.push_back({run - piece.first, std::min(kRunElements, end - run), s.kind != TensorKind::kNorm, counts});
  }
  return {};
}

template <typename T>
Status AdamW<T>::ReduceCompressed(Piece& piece, std::span<T> sum) {
  Communicator& ranks = *piece.group.replicas;
  const int64_t n = static_cast<int64_t>(sum.size());
  const int size = ranks.size();
  auto* out = reinterpret_cast<uint16_t*>(wire_.data());
  auto* in = out + kWireElements * size;
  std::vector<int64_t> bytes(static_cast<size_t>(size));
  for (int64_t first = 0; first < n; first += kWireElements) {
    const int64_t count = std::min(kWireElements, n - first);
    std::ranges::fill(bytes, count * 2);
    for (int r = 0; r < size; ++r)
      for (int64_t i = 0; i < count; ++i)
        out[r * count + i] = Encode(compression_, static_cast<float>(piece.group.grads[r * n + first + i]));
    RETURN_IF_ERROR(ranks.AllToAll(reinterpret_cast<const std::byte*>(out), bytes, reinterpret_cast<std::byte*>(in),
                                   bytes, "compressed gradients"));
    for (int64_t i = 0; i < count; ++i) {
      T total{};
      for (int r = 0; r < size; ++r) total += static_cast<T>(Decode(compression_, in[r * count + i]));
      sum[first + i] = total;
    }
  }
  return {};
}

template <typename T>
Status AdamW<T>::Reduce(Piece& piece, std::span<T> sum, UpdateReport& report) {
  Communicator& ranks = *piece.group.replicas;
  const int64_t sent = static_cast<int64_t>(sum.size()) * (ranks.size() - 1);
  report.bytes_uncompressed += sent * static_cast<int64_t>(sizeof(T));
  if (compression_ == GradientCompression::kNone || ranks.size() == 1) {
    report.bytes_reduced += sent * static_cast<int64_t>(sizeof(T));
    return ranks.ReduceScatterSum(std::span<const T>(piece.group.grads), sum, "gradients");
  }
  report.bytes_reduced += sent * 2;
  return ReduceCompressed(piece, sum);
}

/// Runs are cut by the tensors alone, and added in their order.
template <typename T>
double AdamW<T>::SumOfSquares(ThreadPool& pool, const std::vector<Run>& runs, std::span<const T> gradient) {
  pool.For(static_cast<int64_t>(runs.size()), [&](int64_t r, int) {
    constexpr int64_t kLanes = 8;  // sums side by side: one alone would wait for each addition
    double lanes[kLanes] = {};
    const Run& run = runs[static_cast<size_t>(r)];
    const T* g = gradient.data() + run.first;
    int64_t i = run.counts ? 0 : run.count;
    for (; i + kLanes <= run.count; i += kLanes)
      for (int64_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(g[i + l]) * static_cast<double>(g[i + l]);
    for (; i < run.count; ++i) lanes[0] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
    double sum = 0;
    for (const double lane : lanes) sum += lane;
    squares_[static_cast<size_t>(r)] = sum;
  });
  double sum = 0;
  for (size_t r = 0; r < runs.size(); ++r) sum += squares_[r];
  return sum;
}

template <typename T>
void AdamW<T>::UpdatePiece(ThreadPool& pool, Piece& piece, const std::vector<Run>& runs, std::span<const T> gradient,
                           double rate, double factor) {
  const T b1 = static_cast<T>(options_.beta1), b2 = static_cast<T>(options_.beta2);
  const auto n = static_cast<double>(steps_);
  const T correct1 = static_cast<T>(1 / (1 - std::pow(options_.beta1, n)));
  const T correct2 = static_cast<T>(1 / (1 - std::pow(options_.beta2, n)));
  const T epsilon = static_cast<T>(options_.epsilon), step = static_cast<T>(rate), scale = static_cast<T>(factor);
  pool.For(static_cast<int64_t>(runs.size()), [&](int64_t r, int) {
    const Run& run = runs[static_cast<size_t>(r)];
    const T keep = run.decays ? static_cast<T>(1 - rate * options_.weight_decay) : T{1};
    T* __restrict w = piece.group.values.data() + piece.first + run.first;
    T *__restrict m = piece.m.data() + run.first, *__restrict v = piece.v.data() + run.first;
    const T* __restrict g = gradient.data() + run.first;
    for (int64_t i = 0; i < run.count; ++i) {
      const T x = g[i] * scale;
      m[i] = b1 * m[i] + (1 - b1) * x;
      v[i] = b2 * v[i] + (1 - b2) * x * x;
      w[i] = keep * w[i] - step * (m[i] * correct1) / (std::sqrt(v[i] * correct2) + epsilon);
    }
  });
}

template <typename T>
Result<UpdateReport> AdamW<T>::Step(ThreadPool& pool, double learning_rate, double gradient_scale) {
  UpdateReport report;
  RETURN_IF_ERROR(Reduce(dense_, dense_sum_, report));
  RETURN_IF_ERROR(Reduce(experts_, expert_sum_, report));
  double squares = SumOfSquares(pool, dense_runs_, dense_sum_);
  squares += SumOfSquares(pool, expert_runs_, expert_sum_);
  RETURN_IF_ERROR(mesh_.world().AllReduceSum(std::span(&squares, 1), "gradient norm"));
  report.gradient_norm = std::sqrt(squares) / gradient_scale;
  report.skipped = !std::isfinite(report.gradient_norm);
  if (report.skipped) return report;
  const bool clips = options_.clip_norm > 0 && report.gradient_norm > options_.clip_norm;
  const double factor = (clips ? options_.clip_norm / report.gradient_norm : 1.0) / gradient_scale;
  ++steps_;
  UpdatePiece(pool, dense_, dense_runs_, dense_sum_, learning_rate, factor);
  UpdatePiece(pool, experts_, expert_runs_, expert_sum_, learning_rate, factor);
  for (Piece* piece : {&dense_, &experts_}) {
    const auto mine = piece->group.values.subspan(static_cast<size_t>(piece->first), piece->m.size());
    RETURN_IF_ERROR(piece->group.replicas->AllGather(BytesOf(std::span<const T>(mine)), BytesOf(piece->group.values),
                                                     "parameters"));
  }
  return report;
}

template class AdamW<float>;
template class AdamW<double>;

}  // namespace hadal::train
