#include "kernels/context.h"

#include <algorithm>

namespace hadal {
namespace {

// Partial results of the absorbed form are bounded: tokens are taken in waves whose partials fit.
constexpr int64_t kPartialFloats = 4 << 20;

int64_t Splits(int64_t context) { return (context + kPositionSplit - 1) / kPositionSplit; }

uint64_t SharedBytes(const OpLimits& l) {
  const int64_t partial = std::max(kPartialFloats, Splits(l.context) * kPanel * (l.latent + 2)) * 4;
  const int64_t pointers = l.context * static_cast<int64_t>(sizeof(void*));
  return static_cast<uint64_t>(std::max({l.prepared_bytes, partial, pointers}));
}

int64_t WorkerFloats(const OpLimits& l) {
  const int64_t absorbed = AbsorbedScratch(l.latent, l.rope);
  const int64_t prompt = PromptScratch(l.prompt_run, l.nope, l.rope, l.value, l.latent);
  return (std::max(absorbed, prompt) + 15) / 16 * 16;
}

}  // namespace

uint64_t ExecContext::PlannedBytes(const OpLimits& limits, int threads) {
  return SharedBytes(limits) + static_cast<uint64_t>(WorkerFloats(limits) * threads) * sizeof(float);
}

Result<ExecContext> ExecContext::Create(const KernelTable& kernels, ThreadPool& pool, const OpLimits& limits) {
  ExecContext context;
  context.kernels_ = &kernels;
  context.pool_ = &pool;
  context.limits_ = limits;
  context.worker_floats_ = WorkerFloats(limits);
  ASSIGN_OR_RETURN(context.shared_, ByteBuffer::Allocate(SharedBytes(limits), "shared scratch"));
  ASSIGN_OR_RETURN(context.workers_,
                   Buffer<float>::Allocate(context.worker_floats_ * pool.threads(), "scratch of the threads"));
  context.job_plans_.reserve(static_cast<size_t>(limits.jobs));
  return context;
}

}  // namespace hadal
