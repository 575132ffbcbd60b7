#include "train/memory_check.h"

namespace hadal::train {
namespace {

double GB(uint64_t bytes) { return static_cast<double>(bytes) / 1e9; }

}  // namespace

std::string PlanText(const TrainerPlan& p) {
  return fmt::format("{:.2f} GB: parameters {:.2f}, gradients {:.2f}, optimizer {:.2f}, activations {:.2f}, scratch {:.2f}, "
                     "data {:.2f}",
                     GB(p.total()), GB(p.parameters), GB(p.gradients), GB(p.optimizer), GB(p.activations), GB(p.scratch),
                     GB(p.data));
}

template <typename T>
Status CheckMemory(const ModelConfig& config, const ProcessMesh& mesh, int threads, const TrainerOptions& options,
                   const TrainerPlan& plan, uint64_t available) {
  if (plan.total() <= available) return {};
  std::string remedies;
  const auto add = [&](const std::string& what, const TrainerOptions& changed) {
    Result<TrainerPlan> other = Trainer<T>::Plan(config, mesh, threads, changed);
    if (other) other->data = plan.data;
    if (other && other->total() < plan.total())
      remedies += fmt::format("{} ({:.2f} GB in all), ", what, GB(other->total()));
  };
  TrainerOptions changed = options;
  if (options.micro_batch_size > 1) {
    changed.micro_batch_size = 1;
    add("micro_batch_size 1", changed);
    changed = options;
  }
  if (options.checkpointing == Checkpointing::kNone) {
    changed.checkpointing = Checkpointing::kSelective;
    add("gradient_checkpointing selective", changed);
  }
  if (options.checkpointing != Checkpointing::kFull) {
    changed.checkpointing = Checkpointing::kFull;
    add("gradient_checkpointing full", changed);
    changed.micro_batch_size = 1;
    if (options.micro_batch_size > 1) add("both, with full", changed);
  }
  if (options.schedule == PipelineSchedule::kGPipe) {
    changed = options;
    changed.schedule = PipelineSchedule::k1F1B;
    add("pipeline_schedule 1f1b", changed);
  }
  if (plan.data > plan.total() / 4) remedies += "prefetch or gradient_accumulation_steps (data), ";
  return ResourceExhausted(
      "training takes {} on this rank, and {:.2f} GB are available; lower {}or split the model over more ranks "
      "(tensor_parallel, pipeline_parallel)", PlanText(plan), GB(available),
      remedies.empty() ? "sequence_length, " : remedies);
}

template Status CheckMemory<float>(const ModelConfig&, const ProcessMesh&, int, const TrainerOptions&,
                                   const TrainerPlan&, uint64_t);
template Status CheckMemory<double>(const ModelConfig&, const ProcessMesh&, int, const TrainerOptions&,
                                    const TrainerPlan&, uint64_t);

}  // namespace hadal::train
