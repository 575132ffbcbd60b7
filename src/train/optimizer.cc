#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "base/cpu_info.h"

namespace hadal::train {
namespace {

// Elements of each rank that travel at once where gradients are compressed.
constexpr int64_t kWireElements = 1 << 17;

template <typename T>
int64_t PieceSize(const typename ShardSet<T>::Group& group) {
  return static_cast<int64_t>(group.values.size()) / group.replicas->size();
}

/// Arrays of a piece: the two moments, and the gradients' sums where there is something to sum.
int64_t PieceArrays(int replicas) { return replicas > 1 ? 3 : 2; }

}  // namespace

template <typename T>
AdamW<T>::AdamW(ShardSet<T>& params, const ProcessMesh& mesh, const AdamWOptions& options,
                GradientCompression compression)
    : params_(params),
      mesh_(mesh),
      options_(options),
      compression_(compression),
      rows_(RowsOf<T>(CpuRows(BestIsa()))) {}

template <typename T>
uint64_t AdamW<T>::PlannedBytes(const std::vector<Shard>& shards, const ProcessMesh& mesh,
                                GradientCompression compression) {
  const int dense = mesh.data().size(), experts = mesh.expert_data().size(), ranks = std::max(dense, experts);
  const int64_t elements = PieceArrays(dense) * (GroupElements(shards, false, mesh) / dense) +
                           PieceArrays(experts) * (GroupElements(shards, true, mesh) / experts);
  const int64_t block =
      compression == GradientCompression::kNone ? 0 : CompressedWords(compression, kWireElements);
  return sizeof(T) * static_cast<uint64_t>(elements) +
         2 * sizeof(uint16_t) * static_cast<uint64_t>(block * ranks);
}

template <typename T>
Result<std::unique_ptr<AdamW<T>>> AdamW<T>::Create(ShardSet<T>& params, const ProcessMesh& mesh,
                                                   const AdamWOptions& options,
                                                   GradientCompression compression) {
  if (!(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1))
    return InvalidArgument("betas of AdamW are {} and {}, expected 0 to below 1", options.beta1,
                           options.beta2);
  if (!(options.epsilon > 0) || !(options.weight_decay >= 0) || !(options.clip_norm >= 0))
    return InvalidArgument(
        "AdamW with epsilon {}, weight decay {} and clip norm {}; none may be negative, epsilon not 0",
        options.epsilon, options.weight_decay, options.clip_norm);
  std::unique_ptr<AdamW> made(new AdamW(params, mesh, options, compression));
  const int64_t dense = PieceSize<T>(params.dense()), experts = PieceSize<T>(params.experts());
  const int64_t dense_elements = PieceArrays(params.dense().replicas->size()) * dense;
  const int64_t elements = dense_elements + PieceArrays(params.experts().replicas->size()) * experts;
  ASSIGN_OR_RETURN(made->memory_, Buffer<T>::Allocate(elements, "optimizer"));
  const uint64_t state = sizeof(T) * static_cast<uint64_t>(elements);
  ASSIGN_OR_RETURN(made->wire_, ByteBuffer::Allocate(PlannedBytes(params.shards(), mesh, compression) - state,
                                                      "compressed gradients"));
  RETURN_IF_ERROR(made->Place(params.dense(), false, made->memory_.data()));
  RETURN_IF_ERROR(made->Place(params.experts(), true, made->memory_.data() + dense_elements));
  made->squares_.resize(std::max(made->dense_runs_.size(), made->expert_runs_.size()));
  return made;
}

template <typename T>
Status AdamW<T>::Place(typename ShardSet<T>::Group group, bool experts, T* memory) {
  const int64_t n = PieceSize<T>(group);
  const auto size = static_cast<size_t>(n);
  Piece& piece = experts ? experts_ : dense_;
  piece = {group, group.replicas->rank() * n, {memory, size}, {memory + n, size}};
  // One replica's gradients are their sum.
  (experts ? expert_sum_ : dense_sum_) =
      group.replicas->size() > 1 ? std::span<T>(memory + 2 * n, size) : group.grads;
  std::vector<Run>& runs = experts ? expert_runs_ : dense_runs_;
  int64_t at = 0;  // in the group
  for (const Shard& s : params_.shards()) {
    if (s.expert != experts) continue;
    const int64_t begin = std::max(at, piece.first), end = std::min(at + s.elements(), piece.first + n);
    at += s.elements();
    if (begin >= end) continue;
    const bool counts = !s.copy && (!s.replicated || mesh_.shard() == 0);
    for (int64_t run = begin; run < end; run += kRunElements)
      runs.push_back(
          {run - piece.first, std::min(kRunElements, end - run), s.kind != TensorKind::kNorm, counts});
  }
  return {};
}

/// Blocks of kWireElements travel to and from every rank; sums are taken in rank order.
template <typename T>
Status AdamW<T>::ReduceCompressed(ThreadPool& pool, Piece& piece, std::span<T> sum, UpdateReport& report) {
  Communicator& ranks = *piece.group.replicas;
  const int64_t n = static_cast<int64_t>(sum.size());
  const int size = ranks.size();
  auto* out = reinterpret_cast<uint16_t*>(wire_.data());
  auto* in = out + CompressedWords(compression_, kWireElements) * size;
  std::vector<int64_t> bytes(static_cast<size_t>(size));
  for (int64_t first = 0; first < n; first += kWireElements) {
    const int64_t count = std::min(kWireElements, n - first), words = CompressedWords(compression_, count);
    std::ranges::fill(bytes, words * static_cast<int64_t>(sizeof(uint16_t)));
    pool.For(size, [&](int64_t r, int) {
      Compress<T>(compression_, {piece.group.grads.data() + r * n + first, static_cast<size_t>(count)},
                  out + r * words);
    });
    RETURN_IF_ERROR(ranks.AllToAll(reinterpret_cast<const std::byte*>(out), bytes,
                                   reinterpret_cast<std::byte*>(in), bytes, "compressed gradients"));
    report.bytes_reduced += bytes[0] * (size - 1);
    const std::span<T> total = sum.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    std::ranges::fill(total, T{});
    for (int r = 0; r < size; ++r) AddCompressed<T>(compression_, in + r * words, total);
  }
  return {};
}

template <typename T>
Status AdamW<T>::Reduce(ThreadPool& pool, Piece& piece, std::span<T> sum, UpdateReport& report) {
  Communicator& ranks = *piece.group.replicas;
  if (ranks.size() == 1) return {};
  const int64_t sent = static_cast<int64_t>(sum.size() * sizeof(T)) * (ranks.size() - 1);
  report.bytes_uncompressed += sent;
  if (compression_ != GradientCompression::kNone) return ReduceCompressed(pool, piece, sum, report);
  report.bytes_reduced += sent;
  return ranks.ReduceScatterSum(std::span<const T>(piece.group.grads), sum, "gradients");
}

/// Runs are cut by the tensors alone, and added in their order.
template <typename T>
double AdamW<T>::SumOfSquares(ThreadPool& pool, const std::vector<Run>& runs, std::span<const T> gradient) {
  pool.For(static_cast<int64_t>(runs.size()), [&](int64_t r, int) {
    const Run& run = runs[static_cast<size_t>(r)];
    squares_[static_cast<size_t>(r)] =
        rows_.sum_squares(gradient.data() + run.first, run.counts ? run.count : 0);
  });
  double sum = 0;
  for (size_t r = 0; r < runs.size(); ++r) sum += squares_[r];
  return sum;
}

template <typename T>
void AdamW<T>::UpdatePiece(ThreadPool& pool, Piece& piece, const std::vector<Run>& runs,
                           std::span<const T> gradient, double rate, double factor) {
  const auto n = static_cast<double>(steps_);
  const AdamWFactors<T> factors{.scale = static_cast<T>(factor),
                          .beta1 = static_cast<T>(options_.beta1),
                          .beta2 = static_cast<T>(options_.beta2),
                          .correct1 = static_cast<T>(1 / (1 - std::pow(options_.beta1, n))),
                          .correct2 = static_cast<T>(1 / (1 - std::pow(options_.beta2, n))),
                          .rate = static_cast<T>(rate),
                          .epsilon = static_cast<T>(options_.epsilon),
                          .keep = 1};
  AdamWFactors<T> decaying = factors;
  decaying.keep = static_cast<T>(1 - rate * options_.weight_decay);
  pool.For(static_cast<int64_t>(runs.size()), [&](int64_t r, int) {
    const Run& run = runs[static_cast<size_t>(r)];
    rows_.adamw(run.decays ? decaying : factors, gradient.data() + run.first, run.count,
                piece.m.data() + run.first, piece.v.data() + run.first,
                piece.group.values.data() + piece.first + run.first);
  });
}

template <typename T>
Result<UpdateReport> AdamW<T>::Step(ThreadPool& pool, double learning_rate, double gradient_scale) {
  UpdateReport report;
  RETURN_IF_ERROR(Reduce(pool, dense_, dense_sum_, report));
  RETURN_IF_ERROR(Reduce(pool, experts_, expert_sum_, report));
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
    RETURN_IF_ERROR(piece->group.replicas->AllGather(BytesOf(std::span<const T>(mine)),
                                                     BytesOf(piece->group.values), "parameters"));
  }
  return report;
}

template class AdamW<float>;
template class AdamW<double>;

}  // namespace hadal::train
