#include "model/weights.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <tuple>
#include <utility>

#include "model/weight_plan.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;

/// Values one task converts: about a millisecond's work, so that threads end together and one huge tensor is
/// shared.
constexpr int64_t kTaskValues = 1 << 20;

/// A run of panels of one Linear, of rows of the embedding, or one vector.
struct Task {
  enum class Kind : uint8_t { kLinear, kVector, kEmbedding };
  Kind kind;
  uint32_t shard;        // of the source, and
  uint64_t offset;       // where it begins there: the order of tasks is the order on disk
  size_t index;          // into the plan's list of that kind
  int64_t first, count;  // panels, elements or rows
  int64_t bytes;         // of the checkpoint, for the report
};

void AddLinearTasks(const WeightPlan& plan, size_t index, std::vector<Task>& tasks) {
  const WeightPlan::Linear& linear = plan.linears[index];
  const PackJob& job = linear.job;
  const LinearWeight& w = *job.target;
  const TensorInfo& tensor = *job.source.values;
  const int64_t panels = w.panel_count();
  const int64_t step = job.transposed ? panels : std::max<int64_t>(1, kTaskValues / (kPanel * w.in));
  for (int64_t first = 0; first < panels; first += step) {
    const int64_t count = std::min(step, panels - first);
    const int64_t rows = job.transposed ? w.in : std::min(count * kPanel, w.out - first * kPanel);
    const int64_t row = job.first_row + (job.transposed ? 0 : first * kPanel);
    const auto offset = tensor.offset + static_cast<uint64_t>(row * job.source.row_bytes());
    tasks.push_back({Task::Kind::kLinear, tensor.shard, offset, index, first, count,
                     linear.counted ? job.source.BytesOfRows(row, rows) : 0});
  }
}

std::vector<Task> MakeTasks(const WeightPlan& plan) {
  std::vector<Task> tasks;
  for (size_t i = 0; i < plan.linears.size(); ++i) AddLinearTasks(plan, i, tasks);
  for (size_t i = 0; i < plan.vectors.size(); ++i) {
    const TensorInfo& tensor = *plan.vectors[i].tensor;
    tasks.push_back({Task::Kind::kVector, tensor.shard, tensor.offset, i, 0, tensor.shape[0],
                     static_cast<int64_t>(tensor.bytes)});
  }
  const TensorInfo& tensor = *plan.embedding.tensor;
  const int64_t rows = tensor.shape[0], width = static_cast<int64_t>(tensor.bytes) / rows;
  const int64_t step = std::max<int64_t>(1, kTaskValues / tensor.shape[1]);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    tasks.push_back({Task::Kind::kEmbedding, tensor.shard,
                     tensor.offset + static_cast<uint64_t>(first * width), 0, first, count, count * width});
  }
  const auto on_disk = [](const Task& a, const Task& b) {
    return std::tuple(a.shard, a.offset, a.kind, a.index) < std::tuple(b.shard, b.offset, b.kind, b.index);
  };
  std::sort(tasks.begin(), tasks.end(), on_disk);
  return tasks;
}

Status RunTask(const WeightPlan& plan, const Task& task, WeightPacker& packer) {
  if (task.kind == Task::Kind::kLinear) {
    const WeightPlan::Linear& linear = plan.linears[task.index];
    return packer.Pack(linear.job, task.first, task.count, plan.At(linear.values), plan.At(linear.scales));
  }
  WeightReader& reader = packer.reader();
  if (task.kind == Task::Kind::kVector) {
    const WeightPlan::Vector& vector = plan.vectors[task.index];
    return reader.ReadFloats(*vector.tensor, 0, task.count, reinterpret_cast<float*>(plan.At(vector.place)));
  }
  const TensorInfo& tensor = *plan.embedding.tensor;
  const int64_t width = tensor.shape[1], first = task.first * width, count = task.count * width;
  std::byte* rows = plan.At(plan.embedding.place) + first * (DTypeBits(tensor.dtype) / 8);
  RETURN_IF_ERROR(reader.CopyElements(tensor, first, count, rows));
  reader.Release(tensor, first, count);
  return {};
}

/// Tells the listener how far loading is: from one thread at a time, at most 20 times a second, and at the
/// end.
class Progress {
 public:
  Progress(const std::function<void(uint64_t, uint64_t)>& listener, uint64_t total)
      : listener_(listener), total_(total) {}

  void Add(uint64_t bytes) {
    done_.fetch_add(bytes, std::memory_order_relaxed);
    if (!listener_) return;
    std::unique_lock lock(mutex_, std::try_to_lock);
    const Clock::time_point now = Clock::now();
    if (!lock || now - last_ < std::chrono::milliseconds(50)) return;
    last_ = now;
    listener_(done_.load(std::memory_order_relaxed), total_);
  }
  void Finish() const {
    if (listener_) listener_(total_, total_);
  }

 private:
  const std::function<void(uint64_t, uint64_t)>& listener_;
  const uint64_t total_;
  std::atomic<uint64_t> done_{0};
  std::mutex mutex_;
  Clock::time_point last_ = Clock::now();
};

/// The error of the first task that fails, in the order of tasks, whatever the threads: tasks are handed out
/// in order, so that every task before a failed one runs, and none after it needs to.
class FirstError {
 public:
  bool Before(int64_t task) const { return first_.load(std::memory_order_relaxed) < task; }
  void Set(int64_t task, Error error) {
    const std::lock_guard lock(mutex_);
    if (Before(task)) return;
    first_.store(task, std::memory_order_relaxed);
    error_ = std::move(error);
  }
  Status Take() {
    if (first_ == kNone) return {};
    return tl::unexpected(std::move(error_));
  }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> first_{kNone};
  std::mutex mutex_;
  Error error_{};
};

uint64_t VectorBytes(int64_t width) { return static_cast<uint64_t>(width) * 4; }

uint64_t NetworkBytes(const FeedForwardWeights& w) {
  return static_cast<uint64_t>(w.gate.bytes() + w.up.bytes() + w.down.bytes());
}

/// What the absorbed form reads.
uint64_t AttentionBytes(const MlaWeights& w, const ModelConfig& config) {
  uint64_t bytes = VectorBytes(config.kv_lora_rank);
  const auto add = [&](const LinearWeight& linear) { bytes += static_cast<uint64_t>(linear.bytes()); };
  if (w.q_down) {
    add(*w.q_down);
    bytes += VectorBytes(config.q_lora_rank);
  }
  for (const LinearWeight* linear : {&w.q_up, &w.kv_down, &w.out}) add(*linear);
  for (const LinearWeight& linear : w.k_up_absorbed) add(linear);
  for (const LinearWeight& linear : w.v_up_absorbed) add(linear);
  return bytes;
}

uint64_t MoeBytes(const MoeWeights& w, const ModelConfig& config) {
  uint64_t bytes = static_cast<uint64_t>(w.router.bytes());
  if (w.bias) bytes += VectorBytes(config.n_routed_experts);
  if (w.shared) bytes += NetworkBytes(*w.shared);
  uint64_t experts = 0;
  for (const FeedForwardWeights& expert : w.experts) experts += NetworkBytes(expert);
  return bytes + experts / w.experts.size() * static_cast<uint64_t>(config.num_experts_per_tok);
}

}  // namespace

uint64_t Weights::BytesPerToken(const ModelConfig& config) const {
  uint64_t bytes =
      static_cast<uint64_t>(embedding.hidden) * static_cast<uint64_t>(DTypeBits(embedding.dtype) / 8);
  bytes += VectorBytes(config.hidden_size) + static_cast<uint64_t>(head.bytes());
  for (const LayerWeights& layer : layers) {
    bytes += 2 * VectorBytes(config.hidden_size) + AttentionBytes(layer.attention, config);
    bytes += layer.dense ? NetworkBytes(*layer.dense) : MoeBytes(*layer.moe, config);
  }
  return bytes;
}

Result<uint64_t> PlanWeights(const ModelConfig& config, const Checkpoint& checkpoint,
                             const LoadOptions& options) {
  ASSIGN_OR_RETURN(const auto plan, MakeWeightPlan(config, checkpoint, options));
  return plan->TotalBytes();
}

Result<Weights> LoadWeights(const ModelConfig& config, const Checkpoint& checkpoint,
                            const LoadOptions& options, ThreadPool& pool) {
  const Clock::time_point start = Clock::now();
  ASSIGN_OR_RETURN(const auto plan, MakeWeightPlan(config, checkpoint, options));
  RETURN_IF_ERROR(plan->Allocate());

  const std::vector<Task> tasks = MakeTasks(*plan);
  uint64_t total = 0;
  for (const Task& task : tasks) total += static_cast<uint64_t>(task.bytes);
  Progress progress(options.progress, total);
  FirstError error;
  std::vector<WeightPacker> packers(static_cast<size_t>(pool.threads()), WeightPacker(checkpoint));
  pool.For(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
    if (error.Before(i)) return;
    if (options.stop && options.stop()) return error.Set(i, {Code::kCancelled, "the loading was stopped"});
    const Task& task = tasks[static_cast<size_t>(i)];
    const Status status = RunTask(*plan, task, packers[static_cast<size_t>(worker)]);
    if (!status) return error.Set(i, status.error());
    progress.Add(static_cast<uint64_t>(task.bytes));
  });
  RETURN_IF_ERROR(error.Take());
  RETURN_IF_ERROR(checkpoint.Verify());
  progress.Finish();

  Weights weights = std::move(plan->weights);
  weights.report = {total, std::chrono::duration<double>(Clock::now() - start).count()};
  return weights;
}

}  // namespace hadal
