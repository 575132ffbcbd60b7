// A model folder, loaded and ready to run steps.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/block_pool.h"
#include "engine/sequence.h"
#include "model/forward.h"
#include "model/weights.h"

namespace hadal {

/// Adds to a plan what others take beside the engine: an EngineLoop, an HttpServer.
using PlanBeside = std::function<void(const ModelConfig&, const StepLimits&, int threads, MemoryPlan& plan)>;

struct EngineOptions {
  LoadOptions load;
  std::string kernels = "auto";  // "ref", or an instruction set: "generic", "avx2", "avx512"
  int threads = 0;               // 0: every usable processor
  int64_t context = 0;           // positions of one sequence; 0: 4096 or the model's, whichever is less
  int64_t sequences = 1;         // full contexts that the cache has room for
  int64_t cache_tokens = 0;      // positions that the cache has room for, instead of `sequences`; 0: as those say
  bool fewer_sequences = false;  // where memory is short, make room for fewer, down to one, instead of refusing
  int64_t step_tokens = 512;     // tokens in one step at most
  int64_t logit_rows = 1;        // rows of logits in one step at most
  int64_t block_size = 64;       // positions in a cache block
  PlanBeside beside = {};        // so that the plan, and the refusal, count it
};

/// "weights 1.20 GB, cache of 16384 tokens 300.0 MB, …": the parts of a plan.
std::string PlanText(const MemoryPlan& plan);

class Engine {
 public:
  /// What loading `dir` with `options` would take, from config and file headers alone.
  static Result<MemoryPlan> Plan(const Path& dir, const EngineOptions& options);
  /// kResourceExhausted, before any weight is read, if the plan exceeds the memory that is available: the sentence
  /// has the sums, and what would fit.
  static Result<std::unique_ptr<Engine>> Load(const Path& dir, const EngineOptions& options);

  const ModelConfig& config() const { return config_; }
  const Weights& weights() const { return weights_; }
  const MemoryPlan& plan() const { return plan_; }
  const KernelTable& kernels() const { return *kernels_; }
  ForwardPass& pass() { return *pass_; }
  ThreadPool& threads() { return *pool_; }
  BlockPool& blocks() { return blocks_; }
  int64_t context() const { return pass_->limits().context; }

  /// kInvalidArgument if an id is outside the vocabulary or the sequence would be longer than the context.
  Status CheckTokens(std::span<const int32_t> ids) const;

  /// Computes the slices' tokens as one step and marks them computed. Logits as BuildStep orders them.
  Result<View<const float>> RunStep(std::span<const Slice> slices, ForwardObserver* observer = nullptr);
  /// The last step, for LogitRow.
  const Step& step() const { return step_; }

 private:
  Engine() : blocks_(0) {}
  ModelConfig config_;
  Weights weights_;
  MemoryPlan plan_;
  const KernelTable* kernels_ = nullptr;
  std::unique_ptr<ThreadPool> pool_;
  LoopbackCommunicator alone_;
  std::unique_ptr<ForwardPass> pass_;
  BlockPool blocks_;
  Step step_;
};

/// "ref" or an instruction set's name; "auto" is the best that runs here. kInvalidArgument names the choices.
Result<const KernelTable*> FindKernels(std::string_view name);

}  // namespace hadal
