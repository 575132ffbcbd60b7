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
  limits.block_size = options.block_size;
  limits.mtp = options.load.mtp;
  const auto whole_blocks = [&](int64_t tokens) {
    return (tokens + limits.block_size - 1) / limits.block_size * limits.block_size;
  };
  // Each sequence may leave its last block part empty.
  limits.cache_tokens = options.cache_tokens > 0 ? whole_blocks(options.cache_tokens)
                                                 : options.sequences * whole_blocks(context);
  limits.tokens = std::min({options.step_tokens, limits.cache_tokens, context * options.sequences});
  limits.logit_rows = std::min(options.logit_rows, limits.tokens);
  return limits;
}

/// All but the weights, which do not depend on the limits.
MemoryPlan PlanFor(const Loading& loading, const EngineOptions& options, const StepLimits& limits) {
  MemoryPlan plan = ForwardPass::Plan(loading.config, limits, loading.cache_bf16, loading.threads);
  plan.weights = loading.plan.weights;
  if (options.beside) options.beside(loading.config, limits, loading.threads, plan);
  return plan;
}

/// The most of [least, most] that fits, where what fits is an interval from `least`; 0 if none does.
template <typename Fits>
int64_t MostThatFits(int64_t least, int64_t most, Fits&& fits) {
  int64_t best = 0;
  while (least <= most) {
    const int64_t middle = least + (most - least) / 2;
    if (fits(middle)) {
      best = middle;
      least = middle + 1;
    } else {
      most = middle - 1;
    }
  }
  return best;
}

/// With fewer_sequences: as large a cache as fits, at most what was asked for and at least one context. A tenth of what is
/// available stays free, for what else runs on the machine.
void FitCache(Loading& loading, const EngineOptions& options) {
  const uint64_t available = AvailableMemoryBytes() / 10 * 9;
  if (!options.fewer_sequences || loading.plan.total() <= available) return;
  const int64_t size = loading.limits.block_size;
  const int64_t least = (loading.limits.context + size - 1) / size;
  const int64_t blocks = MostThatFits(least, loading.limits.cache_tokens / size, [&](int64_t n) {
    StepLimits smaller = loading.limits;
    smaller.cache_tokens = n * size;
    return PlanFor(loading, options, smaller).total() <= available;
  });
  loading.limits.cache_tokens = std::max(blocks, least) * size;
  loading.limits.tokens = std::min(loading.limits.tokens, loading.limits.cache_tokens);
  loading.limits.logit_rows = std::min(loading.limits.logit_rows, loading.limits.tokens);
  loading.plan = PlanFor(loading, options, loading.limits);
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
  if (options.cache_tokens > 0 && loading.limits.cache_tokens < loading.limits.context)
    return InvalidArgument("a cache of {} tokens was asked for (--cache-tokens), and one sequence may have {} "
                           "(--context); raise the first or lower the second",
                           options.cache_tokens, loading.limits.context);
  const double cache_bytes = 4.0 * static_cast<double>(loading.limits.cache_tokens) *
                             static_cast<double>(config.latent_dim()) *
                             static_cast<double>(config.num_hidden_layers + config.num_nextn_predict_layers);
  if (cache_bytes > 1e18)
    return ResourceExhausted("a cache of {} tokens would take {:.0f} bytes; lower --context or the number of sequences",
                             loading.limits.cache_tokens, cache_bytes);
  loading.cache_bf16 = options.load.compute == ComputeMode::kAuto;
  loading.plan = PlanFor(loading, options, loading.limits);
  ASSIGN_OR_RETURN(loading.plan.weights, PlanWeights(config, *loading.checkpoint, options.load));
  FitCache(loading, options);
  return loading;
}

std::string Amount(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  return bytes < 1'000'000'000 ? fmt::format("{:.1f} MB", value / 1e6) : fmt::format("{:.2f} GB", value / 1e9);
}

/// The cheapest changes that would make the plan fit `available`.
std::string WhatWouldFit(const Loading& loading, const EngineOptions& options, uint64_t available) {
  const auto total = [&](const StepLimits& limits) { return PlanFor(loading, options, limits).total(); };
  // An engine loop shares its cache among requests, so it may hold less than all their contexts.
  const bool shared = options.beside != nullptr;
  if (shared) {
    const StepLimits& limits = loading.limits;
    const int64_t one = (limits.context + limits.block_size - 1) / limits.block_size;
    const int64_t tokens = limits.block_size * MostThatFits(one, limits.cache_tokens / limits.block_size, [&](int64_t n) {
      StepLimits smaller = limits;
      smaller.cache_tokens = n * limits.block_size;
      return total(smaller) <= available;
    });
    if (tokens > 0) return fmt::format("; a cache of {} tokens would fit (--cache-tokens {})", tokens, tokens);
  }
  EngineOptions least = options;
  least.cache_tokens = 0;
  if (shared) least.sequences = 1;
  const int64_t fits = 64 * MostThatFits(1, loading.limits.context / 64, [&](int64_t n) {
    return total(LimitsFor(least, n * 64)) <= available;
  });
  if (fits >= 256 && shared)
    return fmt::format("; a context and a cache of {} tokens would fit (--context {} --cache-tokens {})", fits, fits,
                       fits);
  if (fits >= 256) return fmt::format("; a context of {} tokens would fit (--context {})", fits, fits);
  for (const auto& [choice, name] : {std::pair{WeightChoice::kInt8, "int8"}, std::pair{WeightChoice::kInt4, "int4"}}) {
    LoadOptions smaller = options.load;
    smaller.weights = choice;
    const Result<uint64_t> weights = PlanWeights(loading.config, *loading.checkpoint, smaller);
    if (weights && loading.plan.total() - loading.plan.weights + *weights <= available)
      return fmt::format("; with --weights {} it would take {}", name,
                         Amount(loading.plan.total() - loading.plan.weights + *weights));
  }
  return "; neither a context of 256 tokens nor 4-bit weights make it fit: take a machine with more memory";
}

Status CheckMemory(const Path& dir, const Loading& loading, const EngineOptions& options) {
  const uint64_t available = AvailableMemoryBytes();
  const MemoryPlan& plan = loading.plan;
  if (plan.total() <= available) return {};
  return ResourceExhausted("{} needs {} of memory ({}) and {} is available{}", dir.string(), Amount(plan.total()),
                           PlanText(plan), Amount(available), WhatWouldFit(loading, options, available));
}

}  // namespace

std::string PlanText(const MemoryPlan& plan) {
  std::string text = fmt::format("weights {}, cache of {} tokens {}, work buffers {}", Amount(plan.weights),
                                 plan.cache_tokens, Amount(plan.cache), Amount(plan.work()));
  const auto add = [&](const char* name, uint64_t bytes) {
    if (bytes > 0) text += fmt::format(", {} {}", name, Amount(bytes));
  };
  add("requests", plan.requests);
  add("connections", plan.connections);
  return text;
}

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
