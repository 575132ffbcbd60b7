#include "train/layers/stage.h"

#include <algorithm>

#include "train/ops/embedding.h"

namespace hadal::train {
namespace {

// More than any machine has, and few enough that sums with it do not wrap.
constexpr uint64_t kMostPlannedBytes = uint64_t{1} << 60;

template <typename T>
void Copy(View<const T> from, View<T> to) {
  for (int64_t t = 0; t < from.rows; ++t) std::copy_n(from.row(t), from.cols, to.row(t));
}

}  // namespace

template <typename T>
Stage<T>::Stage(const ModelConfig& c, const ProcessMesh& mesh, ParameterSet<T>* params, const OpContext& ops,
                const StageLimits& limits, Arena& arena)
    : config_(c), mesh_(mesh), params_(params), ops_(ops), limits_(limits) {
  const Part layers = StageLayers(c, mesh.shape(), mesh.stage());
  const LayerMemory<T> memory(c, mesh, limits.rows, limits.checkpointing);
  for (int64_t i = 0; i < layers.count; ++i) layer_ids_.push_back(layers.first + i);
  work_ = memory.TakeWorkspace(arena, layer_ids_);
  slots_.resize(static_cast<size_t>(limits.slots));
  for (Slot& slot : slots_) {
    for (const int64_t id : layer_ids_) {
      slot.layers.push_back(memory.TakeSaved(arena, id));
      slot.layers.back().x = arena.Take<T>(limits.rows, c.hidden_size);
    }
    slot.out = arena.Take<T>(limits.rows, c.hidden_size);
    if (mesh.last_stage()) slot.dout = arena.Take<T>(limits.rows, c.hidden_size);
  }
  d_ = arena.Take<T>(limits.rows, c.hidden_size);
  if (mesh.last_stage()) {
    head_ = std::make_unique<LossHead<T>>(c, mesh, limits.rows, arena);
    if (c.num_nextn_predict_layers > 0) layer_ids_.push_back(c.num_hidden_layers);
  }
  statistics_.resize(layer_ids_.size());
  ResetSums();
}

template <typename T>
uint64_t Stage<T>::PlannedBytes(const ModelConfig& config, const ProcessMesh& mesh,
                                const StageLimits& limits) {
  const auto with = [&](int64_t slots) {
    StageLimits few = limits;
    few.slots = slots;
    Arena counting;
    const Stage stage(config, mesh, nullptr, OpContext{}, few, counting);
    return counting.used();
  };
  // All slots are alike, and multiplied: to lay out those of GPipe, one for each micro-batch, takes memory.
  const uint64_t none = with(0), each = with(1) - none;
  const auto slots = static_cast<uint64_t>(limits.slots);
  return each > (kMostPlannedBytes - std::min(none, kMostPlannedBytes)) / std::max<uint64_t>(slots, 1)
             ? kMostPlannedBytes
             : none + slots * each;
}

template <typename T>
Result<std::unique_ptr<Stage<T>>> Stage<T>::Create(const ModelConfig& config, const ProcessMesh& mesh,
                                                   ParameterSet<T>& params, const OpContext& ops,
                                                   const StageLimits& limits) {
  ASSIGN_OR_RETURN(Arena arena, Arena::Create(PlannedBytes(config, mesh, limits), "activations"));
  std::unique_ptr<Stage> stage(new Stage(config, mesh, &params, ops, limits, arena));
  stage->arena_ = std::move(arena);
  stage->rope_ = std::make_unique<RotaryTable<T>>(config.rope, config.qk_rope_head_dim, limits.rows);
  return stage;
}

template <typename T>
void Stage<T>::ResetSums() {
  sums_ = {};
  for (size_t i = 0; i < layer_ids_.size(); ++i)
    statistics_[i] = {.choices = std::vector<int64_t>(config_.IsMoeLayer(layer_ids_[i])
                                                          ? static_cast<size_t>(config_.n_routed_experts)
                                                          : 0)};
}

template <typename T>
LayerContext<T> Stage<T>::Context(const MicroBatch& batch, const StepWeights& weights) const {
  return {.ops = ops_,
          .config = &config_,
          .mesh = &mesh_,
          .rope = rope_.get(),
          .batch = &batch,
          .probe = probe_,
          .balance = weights.balance};
}

template <typename T>
Result<View<const T>> Stage<T>::Forward(int64_t slot_index, const MicroBatch& batch, View<const T> input,
                                        const StepWeights& weights, bool backward) {
  const LayerContext<T> ctx = Context(batch, weights);
  const int64_t rows = batch.rows();
  HADAL_CHECK(rows == limits_.rows, "a micro-batch of {} rows, planned for {}", rows, limits_.rows);
  Slot& slot = slots_[static_cast<size_t>(slot_index)];
  const size_t layers = slot.layers.size();
  // The input of layer i, or the stage's output.
  const auto state = [&](size_t i) { return i < layers ? slot.layers[i].x : slot.out; };
  if (mesh_.first_stage()) {
    const View<T> x = state(0);
    EmbeddingForward<T>(ops_, params_->embedding->weight(), params_->vocabulary.first, batch.tokens, x);
    RETURN_IF_ERROR(
        mesh_.tensor().AllReduceSum(std::span(x.data, static_cast<size_t>(rows * x.cols)), "embeddings"));
    ctx.See("embedding", -1, x);
  } else {
    Copy<T>(input, state(0));
    ctx.See("input from the stage before", -1, state(0));
  }
  for (size_t i = 0; i < layers; ++i) {
    RETURN_IF_ERROR(LayerForward<T>(ctx, layer_ids_[i], params_->layers[i], limits_.checkpointing,
                                    slot.layers[i], work_, state(i + 1), statistics_[i]));
  }
  if (mesh_.last_stage())
    RETURN_IF_ERROR(head_->Run(ctx, *params_, state(layers), weights.loss, backward, slot.dout, sums_,
                               statistics_.back()));
  return View<const T>(state(layers));
}

template <typename T>
Result<View<const T>> Stage<T>::Backward(int64_t slot_index, const MicroBatch& batch, View<const T> dout,
                                         const StepWeights& weights) {
  const LayerContext<T> ctx = Context(batch, weights);
  Slot& slot = slots_[static_cast<size_t>(slot_index)];
  const View<T> d = d_;
  Copy<T>(mesh_.last_stage() ? View<const T>(slot.dout) : dout, d);
  ctx.SeeGradient(mesh_.last_stage() ? "the last layer" : "output to the stage after", -1, d);
  for (size_t i = slot.layers.size(); i-- > 0;) {
    RETURN_IF_ERROR(LayerBackward<T>(ctx, layer_ids_[i], params_->layers[i], limits_.checkpointing,
                                     slot.layers[i], work_, d, statistics_[i]));
  }
  if (!mesh_.first_stage()) return View<const T>(d);
  EmbeddingBackward<T>(ops_, d, params_->vocabulary.first, batch.tokens, params_->embedding->grad);
  return View<const T>();
}

template class Stage<float>;
template class Stage<double>;

}  // namespace hadal::train
