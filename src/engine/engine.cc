#include "engine/engine.h"

#include <algorithm>

#include "base/cpu_info.h"

namespace hadal {
namespace {

struct Loading {
  ModelConfig config;
  std::unique_ptr<Checkpoint> checkpoint;
  const KernelTable* kernels;
  StepLimits limits;
  int threads;
  bool cache_bf16;
  MemoryPlan plan;
};

StepLimits LimitsFor(const EngineOptions& options, int64_t context) {
  StepLimits limits;
  limits.context = context;
  limits.tokens = std::min(options.step_tokens, context * options.sequences);
  limits.logit_rows = std::min(options.logit_rows, limits.tokens);
  limits.block_size = options.block_size;
  limits.mtp = options.load.mtp;
  // Each sequence may leave its last block part empty.
  limits.cache_tokens = options.sequences * ((context + limits.block_size - 1) / limits.block_size) * limits.block_size;
  return limits;
}

Result<Loading> Prepare(const Path& dir, const EngineOptions& options) {
  Loading loading;
  ASSIGN_OR_RETURN(loading.config, LoadConfig(dir));
  ASSIGN_OR_RETURN(loading.checkpoint, Checkpoint::Open(dir));
  ASSIGN_OR_RETURN(loading.kernels, FindKernels(options.kernels));
  const ModelConfig& config = loading.config;
  if (options.load.mtp && config.num_nextn_predict_layers == 0)
    return Unsupported("the model in {} has no MTP layer (num_nextn_predict_layers = 0), which speculative decoding "
                       "needs; leave it off (--speculative off) or take a model that has one",
                       dir.string());
  if (options.context > config.max_position_embeddings)
    return InvalidArgument("a context of {} tokens was asked for, and {} has max_position_embeddings {}",
                           options.context, dir.string(), config.max_position_embeddings);
  loading.threads = options.threads > 0 ? options.threads : UsableProcessors();
  loading.limits = LimitsFor(options, options.context > 0
                                          ? options.context
                                          : std::min<int64_t>(4096, config.max_position_embeddings));
  const double cache_bytes = 4.0 * static_cast<double>(loading.limits.cache_tokens) *
                             static_cast<double>(config.latent_dim()) *
                             static_cast<double>(config.num_hidden_layers + config.num_nextn_predict_layers);
  if (cache_bytes > 1e18)
    return ResourceExhausted("a cache of {} tokens would take {:.0f} bytes; lower --context or the number of sequences",
                             loading.limits.cache_tokens, cache_bytes);
  loading.cache_bf16 = options.load.compute == ComputeMode::kAuto;
  loading.plan = ForwardPass::Plan(config, loading.limits, loading.cache_bf16, loading.threads);
  ASSIGN_OR_RETURN(loading.plan.weights, PlanWeights(config, *loading.checkpoint, options.load));
  return loading;
}

std::string Gigabytes(uint64_t bytes) { return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9); }

/// The plan with a context of `context` tokens instead.
uint64_t TotalWithContext(const Loading& loading, const EngineOptions& options, int64_t context) {
  StepLimits limits = LimitsFor(options, context);
  MemoryPlan plan = ForwardPass::Plan(loading.config, limits, loading.cache_bf16, loading.threads);
  plan.weights = loading.plan.weights;
  return plan.total();
}

/// The cheapest changes that would make the plan fit `available`.
std::string WhatWouldFit(const Loading& loading, const EngineOptions& options, uint64_t available) {
  int64_t fits = 0;  // the largest context, in blocks of 64, that fits
  for (int64_t low = 1, high = loading.limits.context / 64; low <= high;) {
    const int64_t middle = (low + high) / 2;
    if (TotalWithContext(loading, options, middle * 64) <= available) {
      fits = middle * 64;
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  if (fits >= 256) return fmt::format("; a context of {} tokens would fit (--context {})", fits, fits);
  for (const auto& [choice, name] : {std::pair{WeightChoice::kInt8, "int8"}, std::pair{WeightChoice::kInt4, "int4"}}) {
    LoadOptions smaller = options.load;
    smaller.weights = choice;
    const Result<uint64_t> weights = PlanWeights(loading.config, *loading.checkpoint, smaller);
    if (weights && loading.plan.total() - loading.plan.weights + *weights <= available)
      return fmt::format("; with --weights {} it would take {}", name,
                         Gigabytes(loading.plan.total() - loading.plan.weights + *weights));
  }
  return "; neither a context of 256 tokens nor 4-bit weights make it fit: take a machine with more memory";
}

Status CheckMemory(const Path& dir, const Loading& loading, const EngineOptions& options) {
  const uint64_t available = AvailableMemoryBytes();
  const MemoryPlan& plan = loading.plan;
  if (plan.total() <= available) return {};
  return ResourceExhausted("{} needs {} of memory (weights {}, cache of {} tokens {}, work buffers {}) and {} is "
                           "available{}",
                           dir.string(), Gigabytes(plan.total()), Gigabytes(plan.weights), loading.limits.cache_tokens,
                           Gigabytes(plan.cache), Gigabytes(plan.activations + plan.scratch + plan.tables),
                           Gigabytes(available), WhatWouldFit(loading, options, available));
}

}  // namespace

Result<const KernelTable*> FindKernels(std::string_view name) {
  if (name == "ref") return &ReferenceKernels();
  if (name == "auto") return &CpuKernels(BestIsa());
  std::string choices = "auto, ref";
  for (const Isa isa : AvailableIsas()) {
    if (IsaName(isa) == name) return &CpuKernels(isa);
    choices += fmt::format(", {}", IsaName(isa));
  }
  return InvalidArgument("there are no kernels '{}' on this machine; choose one of {}", name, choices);
}

Result<MemoryPlan> Engine::Plan(const Path& dir, const EngineOptions& options) {
  ASSIGN_OR_RETURN(const Loading loading, Prepare(dir, options));
  return loading.plan;
}

Result<std::unique_ptr<Engine>> Engine::Load(const Path& dir, const EngineOptions& options) {
  ASSIGN_OR_RETURN(Loading loading, Prepare(dir, options));
  RETURN_IF_ERROR(CheckMemory(dir, loading, options));
  std::unique_ptr<Engine> engine(new Engine);
  engine->config_ = std::move(loading.config);
  engine->plan_ = loading.plan;
  engine->kernels_ = loading.kernels;
  engine->pool_ = std::make_unique<ThreadPool>(loading.threads);
  ASSIGN_OR_RETURN(engine->weights_,
                   LoadWeights(engine->config_, *loading.checkpoint, options.load, *engine->pool_));
  ASSIGN_OR_RETURN(engine->pass_, ForwardPass::Create(engine->config_, engine->weights_, *engine->kernels_,
                                                      *engine->pool_, engine->alone_, loading.limits, loading.cache_bf16));
  engine->blocks_ = BlockPool(engine->pass_->cache().blocks());
  engine->step_.Reserve(loading.limits.tokens, loading.limits.logit_rows, loading.limits.tokens);
  return engine;
}

Status Engine::CheckTokens(std::span<const int32_t> ids) const {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= config_.vocab_size)
      return InvalidArgument("token {} of the sequence is {}, and the vocabulary has ids 0 to {}", i, ids[i],
                             config_.vocab_size - 1);
  if (static_cast<int64_t>(ids.size()) > context())
    return InvalidArgument("the sequence has {} tokens and the context is {}; shorten it or raise --context (the model "
                           "allows {})",
                           ids.size(), context(), config_.max_position_embeddings);
  return {};
}

Result<View<const float>> Engine::RunStep(std::span<const Slice> slices, ForwardObserver* observer) {
  RETURN_IF_ERROR(BuildStep(slices, pass_->limits().block_size, blocks_, step_));
  ASSIGN_OR_RETURN(const View<const float> logits, pass_->Run(step_, observer));
  FinishStep(slices);
  return logits;
}

}  // namespace hadal
